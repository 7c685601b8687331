// The film's viewer: window and level, zoom, pan, invert, the map and the lungs over it; and the keys of the page.
"use strict";
(() => {
  const byId = id => document.getElementById(id);
  const stage = byId("stage");
  const press = (button, on) => button.setAttribute("aria-pressed", String(on));
  const pressed = button => button.getAttribute("aria-pressed") === "true";

  if (stage) {
    const layers = byId("layers"), picture = byId("picture"), map = byId("map"), lungs = byId("lungs");
    const level = byId("level"), width = byId("window"), zoom = byId("zoom"), opacity = byId("map-opacity");
    let x = 0, y = 0, enlarged = 1;

    const draw = () => {
      // In grey values of 0 to 1 the screen shows (v - level) / window + 1/2: brightness and contrast in one.
      const middle = level.value / 256, wide = width.value / 256;
      const inverted = pressed(byId("invert")) ? " invert(1)" : "";
      picture.style.filter = `brightness(${1 / (2 * middle)}) contrast(${2 * middle / wide})${inverted}`;
      layers.style.transform = `translate(${x}px, ${y}px) scale(${enlarged})`;
      if (opacity) map.style.opacity = opacity.value / 100;
      byId("readout").textContent = `level ${level.value}, window ${width.value}, zoom ${enlarged.toFixed(1)}`;
    };
    const zoomAt = (to, px, py) => {
      const next = Math.min(8, Math.max(1, to));
      x = px - (px - x) * next / enlarged;
      y = py - (py - y) * next / enlarged;
      if (next === 1) x = y = 0;
      zoom.value = enlarged = next;
      draw();
    };
    const middle = () => [stage.clientWidth / 2, stage.clientHeight / 2];

    const pointers = new Map();
    stage.addEventListener("pointerdown", event => {
      stage.setPointerCapture(event.pointerId);
      pointers.set(event.pointerId, [event.clientX, event.clientY]);
    });
    const leave = event => pointers.delete(event.pointerId);
    stage.addEventListener("pointerup", leave);
    stage.addEventListener("pointercancel", leave);
    stage.addEventListener("pointermove", event => {
      const was = pointers.get(event.pointerId);
      if (!was) return;
      const dx = event.clientX - was[0], dy = event.clientY - was[1];
      const other = [...pointers].find(([id]) => id !== event.pointerId);
      pointers.set(event.pointerId, [event.clientX, event.clientY]);
      if (other) {
        const apart = ([ax, ay], [bx, by]) => Math.hypot(ax - bx, ay - by) || 1;
        const box = stage.getBoundingClientRect();
        const here = [event.clientX, event.clientY];
        x += dx / 2;
        y += dy / 2;
        zoomAt(enlarged * apart(here, other[1]) / apart(was, other[1]),
          (here[0] + other[1][0]) / 2 - box.left, (here[1] + other[1][1]) / 2 - box.top);
      } else if (pressed(byId("pan")) || event.shiftKey) {
        x += dx;
        y += dy;
      } else {
        width.value = Number(width.value) + dx;
        level.value = Number(level.value) - dy;
      }
      draw();
    });
    stage.addEventListener("wheel", event => {
      event.preventDefault();
      const box = stage.getBoundingClientRect();
      zoomAt(enlarged * Math.exp(-event.deltaY / 400), event.clientX - box.left, event.clientY - box.top);
    }, { passive: false });
    for (const slider of [level, width, opacity]) slider?.addEventListener("input", draw);
    zoom.addEventListener("input", () => zoomAt(Number(zoom.value), ...middle()));

    const toggle = (id, then) => byId(id).addEventListener("click", () => {
      press(byId(id), !pressed(byId(id)));
      then();
    });
    toggle("invert", draw);
    toggle("pan", () => stage.classList.toggle("panning", pressed(byId("pan"))));
    const film = `/api/v1/films/${stage.dataset.film}`;
    toggle("show-lungs", async () => {
      lungs.hidden = !pressed(byId("show-lungs"));
      if (lungs.hidden || lungs.src) return;
      const answer = await fetch(`${film}/lungs`);
      if (answer.ok) lungs.src = URL.createObjectURL(await answer.blob());
      else {
        press(byId("show-lungs"), false);
        lungs.hidden = true;
        byId("readout").textContent = (await answer.json()).error.what;
      }
    });
    const showMap = async () => {
      const scale = byId("map-scale"), ramp = byId("ramp");
      map.hidden = ramp.hidden = !pressed(byId("show-map"));
      if (map.hidden) return;
      const asked = new URLSearchParams({ method: byId("map-method").value, class: byId("map-class").value });
      if (byId("map-model")) asked.set("model", byId("map-model").value);
      scale.textContent = "The map is being made.";
      const answer = await fetch(`${film}/map?${asked}`);
      if (!answer.ok) {
        scale.textContent = (await answer.json()).error.what;
        map.hidden = ramp.hidden = true;
        press(byId("show-map"), false);
        return;
      }
      const of = name => answer.headers.get(name);
      URL.revokeObjectURL(map.src);
      map.src = URL.createObjectURL(await answer.blob());
      map.alt = `Map of ${byId("map-class").value}`;
      byId("full").textContent = `${of("x-full-colour")} ${of("x-unit")}`;
      scale.textContent = `The highest place has ${of("x-highest")} ${of("x-unit")}; bare film is 0 or speaks against. `
        + "It shows where the network's answer comes from, and is no outline of a disease.";
    };
    if (byId("map-method")) toggle("show-map", showMap);
    else byId("show-map").disabled = true;
    for (const id of ["map-method", "map-class", "map-model"]) byId(id)?.addEventListener("change", () => {
      press(byId("show-map"), true);
      showMap();
    });
    byId("reset").addEventListener("click", () => {
      [level.value, width.value, zoom.value, enlarged, x, y] = [128, 256, 1, 1, 0, 0];
      press(byId("invert"), false);
      draw();
    });
    stage.zoomBy = factor => zoomAt(enlarged * factor, ...middle());
    draw();
  }

  byId("accept")?.addEventListener("click", event => {
    const wanted = event.currentTarget.dataset.finding;
    for (const each of document.getElementsByName("finding")) each.checked = each.value === wanted;
    byId("reading").requestSubmit();
  });
  const click = id => byId(id)?.click();
  const keys = {
    j: () => click("next"), ArrowRight: () => click("next"), k: () => click("previous"), ArrowLeft: () => click("previous"),
    i: () => click("invert"), p: () => click("pan"), l: () => click("show-lungs"), m: () => click("show-map"),
    r: () => click("reset"), a: () => click("accept"),
    "+": () => stage?.zoomBy(1.25), "-": () => stage?.zoomBy(0.8),
    Enter: () => byId("reading").requestSubmit(),
  };
  addEventListener("keydown", event => {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    const at = event.target;
    if (at.closest("textarea, select, input:not([type=radio]), a, button, summary")) return;
    if (at.closest("input") && event.key.startsWith("Arrow")) return;
    if (/^[1-9]$/.test(event.key)) {
      const choice = document.getElementsByName("finding")[event.key - 1];
      if (choice) { choice.checked = true; choice.focus(); }
    } else if (keys[event.key]) keys[event.key]();
    else return;
    event.preventDefault();
  });
})();
