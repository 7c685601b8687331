"""The script that the studies wrote: Keras' ImageDataGenerator and InceptionV3. Runs in an environment of its own.

    python keras_script.py FILMS.csv frozen|unfrozen EPOCHS usual|recommended

FILMS.csv: path, class, part (train, validation). recommended: what Keras and TensorFlow advise for speed instead: a
tf.data pipeline with parallel decoding, a cache and prefetching, augmentation as layers, mixed bfloat16. Weights are
random, because the time does not depend on them. The last line that it prints is JSON: seconds of each epoch.
"""

from __future__ import annotations

import json
import os
import sys
import time

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import keras
import pandas as pd
import tensorflow as tf
from keras import layers

SIDE, BATCH = 224, 32


def main(films: str, stage: str, epochs: str, settings: str) -> None:
    table = pd.read_csv(films)
    if settings == "recommended":
        keras.mixed_precision.set_global_policy("mixed_bfloat16")
    made = (recommended if settings == "recommended" else usual)(table)
    network = build(len(table["class"].unique()), frozen=stage == "frozen", inside=settings == "recommended")
    clock = Clock()
    network.fit(made["train"], validation_data=made["validation"], epochs=int(epochs), verbose=0, callbacks=[clock])
    versions = {"keras": keras.__version__, "tensorflow": tf.__version__}
    print(json.dumps({"seconds": clock.seconds, "films": len(table), "versions": versions}))


class Clock(keras.callbacks.Callback):
    def __init__(self) -> None:
        super().__init__()
        self.seconds: list[float] = []

    def on_epoch_begin(self, epoch: int, logs: object = None) -> None:
        self._began = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: object = None) -> None:
        self.seconds.append(time.perf_counter() - self._began)


def build(classes: int, *, frozen: bool, inside: bool) -> keras.Model:
    base = keras.applications.InceptionV3(weights=None, include_top=False, input_shape=(SIDE, SIDE, 3))
    base.trainable = not frozen
    films = layers.Input((SIDE, SIDE, 3))
    x = augmentation()(films) if inside else films
    x = layers.GlobalAveragePooling2D()(base(x, training=False) if frozen else base(x))
    for _ in range(3):
        x = layers.Dense(32, activation="selu", kernel_initializer="lecun_normal")(x)
    network = keras.Model(films, layers.Dense(classes, activation="softmax", dtype="float32")(x))
    network.compile("nadam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return network


def usual(table: pd.DataFrame) -> dict[str, object]:
    """Augments train as liverpool-2022 did; y as numbers."""
    changed = {"rotation_range": 10, "width_shift_range": 0.1, "height_shift_range": 0.1, "horizontal_flip": True}
    generator = tf.keras.preprocessing.image.ImageDataGenerator
    return {
        part: generator(rescale=1 / 255, **(changed if part == "train" else {})).flow_from_dataframe(
            table[table["part"] == part],
            x_col="path",
            y_col="class",
            target_size=(SIDE, SIDE),
            class_mode="sparse",
            batch_size=BATCH,
        )
        for part in ("train", "validation")
    }


def augmentation() -> keras.Sequential:
    return keras.Sequential(
        [
            layers.RandomFlip("horizontal"),
            layers.RandomRotation(10 / 360, fill_mode="nearest"),
            layers.RandomTranslation(0.1, 0.1, fill_mode="nearest"),
        ]
    )


def recommended(table: pd.DataFrame) -> dict[str, tf.data.Dataset]:
    classes = sorted(table["class"].unique())

    def read(path: tf.Tensor, y: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        film = tf.io.decode_image(tf.io.read_file(path), channels=3, expand_animations=False)
        return tf.ensure_shape(tf.image.resize(film, (SIDE, SIDE)) / 255.0, (SIDE, SIDE, 3)), y

    made = {}
    for part, films in table.groupby("part"):
        y = [classes.index(name) for name in films["class"]]
        data = tf.data.Dataset.from_tensor_slices((films["path"].tolist(), y))
        data = data.map(read, num_parallel_calls=tf.data.AUTOTUNE).cache()
        data = data.shuffle(len(films)) if part == "train" else data
        made[part] = data.batch(BATCH).prefetch(tf.data.AUTOTUNE)
    return made


if __name__ == "__main__":
    main(*sys.argv[1:])
