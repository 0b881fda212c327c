"""What one would write without a pipeline: read MNIST, fit a small network, judge it, save it."""

import argparse
import gzip
from pathlib import Path

import keras
import numpy as np


def unpacked(path: Path) -> bytes:
    """Return what a gzip file holds."""
    return gzip.decompress(path.read_bytes())


def read(folder: Path, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Return images uint8 `[n, 28, 28]` and labels `[n]` of the official files."""
    images = np.frombuffer(unpacked(folder / f"{split}-images-idx3-ubyte.gz"), np.uint8, offset=16)
    labels = np.frombuffer(unpacked(folder / f"{split}-labels-idx1-ubyte.gz"), np.uint8, offset=8)
    return images.reshape(-1, 28, 28), labels.astype(np.int64)


def build() -> keras.Model:
    """Return the network of preset `cnn_128`, with dropout."""
    layers = keras.layers
    return keras.Sequential(
        [
            layers.Input((28, 28), dtype="uint8"),
            layers.Rescaling(1 / 255),
            layers.Reshape((28, 28, 1)),
            layers.Conv2D(32, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(2, padding="same"),
            layers.Dropout(0.3),
            layers.Conv2D(64, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(2, padding="same"),
            layers.Dropout(0.3),
            layers.Flatten(),
            layers.Dense(128, activation="relu"),
            layers.Dropout(0.3),
            layers.Dense(10, activation="softmax"),
        ]
    )


def main() -> None:
    """Train for so many epochs with early stopping."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    keras.utils.set_random_seed(arguments.seed)
    images, labels = read(arguments.folder, "train")
    order = np.random.default_rng(0).permutation(len(images))
    train, validation = order[:54000], order[54000:]
    model = build()
    steps = arguments.epochs * -(-len(train) // 128)
    model.compile(
        keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(0.002, steps)),
        "sparse_categorical_crossentropy",
        metrics=["accuracy"],
        jit_compile=False,
    )
    stop = keras.callbacks.EarlyStopping(patience=arguments.epochs, restore_best_weights=True)
    model.fit(
        images[train],
        labels[train],
        batch_size=128,
        epochs=arguments.epochs,
        validation_data=(images[validation], labels[validation]),
        validation_batch_size=1000,
        callbacks=[stop],
        verbose=0,
    )
    _, accuracy = model.evaluate(*read(arguments.folder, "t10k"), batch_size=1000, verbose=0)
    model.save(arguments.target)
    print(f"test accuracy {accuracy:.4f}")


if __name__ == "__main__":
    main()
