// Sends films one by one, three at a time, so that a film that was accepted is safe whatever becomes of this page.
"use strict";
(() => {
  const byId = id => document.getElementById(id);
  const form = byId("drop"), input = byId("films");
  const waiting = [], refused = byId("refused");
  const batch = [...crypto.getRandomValues(new Uint8Array(16))].map(each => each.toString(16).padStart(2, "0")).join("");
  let all = 0, done = 0, accepted = 0, known = 0, busy = 0, stopped = false;

  const say = () => {
    byId("sending").hidden = all === 0;
    byId("sent").max = Math.max(all, 1);
    byId("sent").value = done;
    byId("stop").hidden = done >= all;
    const parts = [`${done} of ${all} files sent`, `${accepted} films accepted`];
    if (known) parts.push(`${known} of them were here already`);
    if (stopped) parts.push("stopped");
    byId("sending-words").textContent = parts.join(", ");
  };
  const refuse = (name, why) => {
    const line = document.createElement("li");
    line.textContent = `${name}: ${why}`;
    refused.append(line);
  };
  const refresh = () => htmx.trigger(document.body, "refresh");
  const pause = seconds => new Promise(resolve => setTimeout(resolve, 1000 * seconds));

  const send = async file => {
    const body = new FormData();
    body.append("films", file, file.name);
    for (let attempt = 0; ; attempt += 1) {
      let answer;
      try {
        answer = await fetch(`/api/v1/films?batch=${batch}`, { method: "POST", body });
      } catch {
        if (attempt === 5) return refuse(file.name, "the server does not answer");
        await pause(2 ** attempt);
        continue;
      }
      if ((answer.status === 503 || answer.status === 429) && attempt < 60) {
        await pause(Number(answer.headers.get("retry-after")) || 2);
        continue;
      }
      if (answer.status === 401) { location.assign("/login"); return undefined; }
      const told = await answer.json();
      if (!answer.ok) return refuse(file.name, `${told.error.what}. ${told.error.next_step}`);
      accepted += told.accepted.length;
      known += told.accepted.filter(each => each.known).length;
      told.refused.forEach(each => refuse(each.name, `${each.error.what}. ${each.error.next_step}`));
      return undefined;
    }
  };
  const work = async () => {
    busy += 1;
    while (waiting.length && !stopped) {
      await send(waiting.shift());
      done += 1;
      say();
      if (done === all || done % 10 === 0) refresh();
    }
    busy -= 1;
  };
  const add = files => {
    if (!busy) { all = done = accepted = known = 0; stopped = false; refused.replaceChildren(); }
    waiting.push(...files);
    all += files.length;
    say();
    while (busy < 3 && busy < waiting.length) work();
  };

  form.addEventListener("submit", event => { event.preventDefault(); add(input.files); });
  input.addEventListener("change", () => { add(input.files); input.value = ""; });
  byId("stop").addEventListener("click", () => { stopped = true; waiting.length = 0; say(); });
  for (const kind of ["dragenter", "dragover"]) {
    addEventListener(kind, event => { event.preventDefault(); form.classList.add("over"); });
  }
  addEventListener("dragleave", event => { if (!event.relatedTarget) form.classList.remove("over"); });
  addEventListener("drop", event => {
    event.preventDefault();
    form.classList.remove("over");
    add(event.dataTransfer.files);
  });
  addEventListener("beforeunload", event => { if (busy) event.preventDefault(); });
})();
