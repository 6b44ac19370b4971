#!/usr/bin/env python3
"""Draw data/fashion-mnist-mini.safetensors.gz from Fashion-MNIST.

The draw: walk each IDX file from its start and keep an image if fewer than the quota of its class were kept so far:
800 per class of the train file, 200 per class of the test file, in file order. Nothing is random.

Needs the four IDX files of Fashion-MNIST (Debian: apt install dataset-fashion-mnist) and the standard library only.

    python3 tools/fashion_mnist_mini.py           write the file
    python3 tools/fashion_mnist_mini.py --check   draw again and compare with the file; exit 1 on a difference
"""

import argparse
import gzip
import hashlib
import json
import os
import struct
import sys
import zlib

SIDE = 28
CLASSES = [
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
]
QUOTA = {"train": 800, "t10k": 200}
HERE = os.path.dirname(os.path.abspath(__file__))
OUT = os.path.join(HERE, "..", "data", "fashion-mnist-mini.safetensors.gz")


def read_idx(path, magic, item):
    """The items of one gzipped IDX file of bytes."""
    with gzip.open(path, "rb") as f:
        raw = f.read()
    header = 4 * (1 + (magic & 0xFF))
    fields = struct.unpack(f">{header // 4}I", raw[:header])
    count = fields[1]
    if fields[0] != magic or any(d != SIDE for d in fields[2:]) or len(raw) != header + count * item:
        sys.exit(f"{path}: not the Fashion-MNIST file expected here")
    return [raw[header + i * item : header + (i + 1) * item] for i in range(count)]


def draw(source, prefix):
    """(images, labels) of the first QUOTA[prefix] examples of every class, in file order."""
    images = read_idx(os.path.join(source, f"{prefix}-images-idx3-ubyte.gz"), 0x803, SIDE * SIDE)
    labels = read_idx(os.path.join(source, f"{prefix}-labels-idx1-ubyte.gz"), 0x801, 1)
    kept = [0] * len(CLASSES)
    out_images, out_labels = [], []
    for image, label in zip(images, labels, strict=True):
        if kept[label[0]] < QUOTA[prefix]:
            kept[label[0]] += 1
            out_images.append(image)
            out_labels.append(label)
    if kept != [QUOTA[prefix]] * len(CLASSES):
        sys.exit(f"{source}: too few examples of a class: {kept}")
    return b"".join(out_images), b"".join(out_labels)


def safetensors(tensors, metadata):
    """The bytes of a safetensors file of u8 tensors: 8 bytes of header length, JSON header, data."""
    header, data = {"__metadata__": metadata}, b""
    for name, shape, raw in tensors:
        header[name] = {"dtype": "U8", "shape": shape, "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    head = json.dumps(header, separators=(",", ":")).encode()
    head += b" " * (-len(head) % 8)
    return struct.pack("<Q", len(head)) + head + data


def gzipped(raw):
    """gzip at level 9 with a fixed header (no time, no name), so that the same input gives the same file."""
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
    body = deflate.compress(raw) + deflate.flush()
    return b"\x1f\x8b\x08\0\0\0\0\0\x02\xff" + body + struct.pack("<II", zlib.crc32(raw), len(raw))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", default="/usr/share/datasets/fashion-mnist", help="folder of the IDX .gz files")
    parser.add_argument("--out", default=os.path.normpath(OUT), help="the file to write or to check")
    parser.add_argument("--check", action="store_true", help="compare instead of writing")
    args = parser.parse_args()

    images, labels = draw(args.source, "train")
    test_images, test_labels = draw(args.source, "t10k")
    raw = safetensors(
        [
            ("images", [len(labels), 1, SIDE, SIDE], images),
            ("labels", [len(labels)], labels),
            ("test_images", [len(test_labels), 1, SIDE, SIDE], test_images),
            ("test_labels", [len(test_labels)], test_labels),
        ],
        {"class_names": ",".join(CLASSES), "classes": str(len(CLASSES))},
    )
    packed = gzipped(raw)

    if args.check:
        with open(args.out, "rb") as f:
            old = f.read()
        if old == packed:
            print(f"{args.out}: identical, byte for byte")
        elif gzip.decompress(old) == raw:
            # Deflate's output is not fixed by its standard: zlib-ng, say, packs the same content differently.
            print(f"{args.out}: identical content (this Python's zlib {zlib.ZLIB_RUNTIME_VERSION} packs it differently)")
        else:
            sys.exit(f"{args.out}: DIFFERS from a fresh draw")
    else:
        with open(args.out, "wb") as f:
            f.write(packed)
    print(f"content {len(raw)} bytes, sha256 {hashlib.sha256(raw).hexdigest()}")
    print(f"file    {len(packed)} bytes, sha256 {hashlib.sha256(packed).hexdigest()}")


if __name__ == "__main__":
    main()
