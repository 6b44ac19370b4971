"""Small data sets in the true formats, made by the libraries that people make them with, and what is in them.

make.py FOLDER writes FOLDER/SET/ARCHIVE, and FOLDER/SET.json (shape, labels, test_labels) with FOLDER/SET.png: the training and
then the test images, one below the other. With numpy 2, scipy 1 and Pillow; what it wrote is in `made`, and `tools/clients` makes
it anew.
"""

import io
import json
import sys
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import scipy.io
from PIL import Image

out = Path(sys.argv[1])
rng = np.random.default_rng(1)


def noise(n, channels, height, width):
    """In patches of 4x4, which take less room when they are packed."""
    patches = rng.integers(0, 256, (n, channels, -(-height // 4), -(-width // 4)), dtype=np.uint8)
    return patches.repeat(4, axis=2).repeat(4, axis=3)[:, :, :height, :width]


def expect(name, images, labels, test_images, test_labels):
    every = np.concatenate([images, test_images]).transpose(0, 2, 3, 1)
    Image.fromarray(every.reshape(-1, *every.shape[2:])).save(out / f"{name}.png", optimize=True)
    what = {"shape": images.shape[1:], "labels": [int(y) for y in labels], "test_labels": [int(y) for y in test_labels]}
    (out / f"{name}.json").write_text(json.dumps(what))


def folder(name):
    (out / name).mkdir(parents=True, exist_ok=True)
    return out / name


def tar_of(path, files):
    with tarfile.open(path, "w:gz") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))


def cifar(name, archive, root, labels_of, names, train_files, test_file):
    def records(n):
        labels, images = labels_of(n), noise(n, 3, 32, 32)
        return labels, images, np.concatenate([labels, images.reshape(n, -1)], axis=1).tobytes()

    batches = [records(2) for _ in train_files]
    test = records(3)
    files = dict(zip(train_files, (b[2] for b in batches)))
    # Not in order: the reader has to put them together by name.
    files = {f"{root}/{k}": v for k, v in reversed(files.items())}
    files |= {f"{root}/{test_file}": test[2], f"{root}/{names[0]}": names[1], f"{root}/readme.html": b"see the web"}
    tar_of(folder(name) / archive, files)
    fine = lambda batch: batch[0][:, -1]
    expect(name, np.concatenate([b[1] for b in batches]), np.concatenate([fine(b) for b in batches]), test[1], fine(test))


ten = "airplane automobile bird cat deer dog frog horse ship truck".split()
cifar(
    "cifar10", "cifar-10-binary.tar.gz", "cifar-10-batches-bin",
    lambda n: rng.integers(0, 10, (n, 1), dtype=np.uint8),
    ("batches.meta.txt", ("\n".join(ten) + "\n\n").encode()),
    [f"data_batch_{i}.bin" for i in range(1, 6)], "test_batch.bin",
)
cifar(
    "cifar100", "cifar-100-binary.tar.gz", "cifar-100-binary",
    lambda n: np.stack([rng.integers(0, 20, n), rng.integers(0, 100, n)], axis=1).astype(np.uint8),
    ("fine_label_names.txt", "".join(f"class {i}\n" for i in range(100)).encode()),
    ["train.bin"], "test.bin",
)

# SVHN as MATLAB writes it: compressed, labels as doubles. The second one plain, with labels as bytes and a variable more.
for name, options in [("svhn", {"do_compression": True}), ("svhn-plain", {"do_compression": False})]:
    dtype = np.float64 if name == "svhn" else np.uint8
    y, test_y = np.arange(2 if name == "svhn" else 8, 11), np.array([10, 1, 5, 10])
    train, test = noise(len(y), 3, 32, 32), noise(4, 3, 32, 32)
    at = folder(name)
    for file, images, labels in [("train_32x32.mat", train, y), ("test_32x32.mat", test, test_y)]:
        mat = {"X": np.asfortranarray(images.transpose(2, 3, 1, 0)), "y": labels.reshape(-1, 1).astype(dtype)}
        if name != "svhn":
            mat = {"other": np.ones((2, 3)), "note": "text", **mat}
        scipy.io.savemat(at / file, mat, **options)
    expect(name, train, y % 10, test, test_y % 10)


def picture(height, width):
    """Smooth colours, so that a JPEG of it is close to it."""
    y, x = np.mgrid[0:height, 0:width]
    phase = rng.uniform(0, 6, 3)
    waves = [np.sin(x / (20 + 12 * c) + y / (36 - 8 * c) + phase[c]) for c in range(3)]
    return Image.fromarray((127.5 + 120 * np.stack(waves, axis=2)).astype(np.uint8))


def jpeg(image, **options):
    content = io.BytesIO()
    image.save(content, "JPEG", quality=92, **options)
    return content.getvalue()


def png(image):
    content = io.BytesIO()
    image.save(content, "PNG")
    return content.getvalue()


def fitted(content, height, width):
    """Pillow's bilinear scaling of the shorter side, and the centre."""
    image = Image.open(io.BytesIO(content)).convert("RGB")
    if image.height * width <= image.width * height:
        size = (image.width * height // image.height, height)
    else:
        size = (width, image.height * width // image.width)
    if image.size != (width, height):
        image = image.resize(size, Image.Resampling.BILINEAR)
    left, top = (size[0] - width) // 2, (size[1] - height) // 2
    return np.array(image.crop((left, top, left + width, top + height))).transpose(2, 0, 1)


def pictures(name, files, classes, test_part, height, width):
    """The expectation of pictures by path, ROOT/PART/CLASS/..."""
    train = sorted(k for k in files if "/train/" in k)
    test = sorted((k for k in files if f"/{test_part}/" in k), key=lambda k: (classes(k), k))
    stack = lambda keys: np.stack([fitted(files[k], height, width) for k in keys])
    expect(name, stack(train), map(classes, train), stack(test), map(classes, test))


wnids = "n01440764 n02102040 n02979186 n03000684 n03028079 n03394916 n03417042 n03425413 n03445777 n03888257".split()
files = {}
for part in ["val", "train"]:
    for i, wnid in enumerate(reversed(wnids)):
        for j in range(2 if part == "train" and i % 3 == 0 else 1):
            size = (40, 50 + 2 * i) if j == 0 else (48 + i, 40)
            image = picture(*size)
            content = jpeg(image.convert("L")) if (i, j) == (3, 0) else jpeg(image, progressive=i % 2 == 0)
            files[f"imagenette2-160/{part}/{wnid}/ILSVRC2012_{part}_{j}.JPEG"] = content
tar_of(folder("imagenette") / "imagenette2-160.tgz", files | {"imagenette2-160/noisy_imagenette.csv": b"path,label\n"})
pictures("imagenette", files, lambda k: wnids.index(k.split("/")[2]), "val", 32, 32)

tiny = ["n02124075", "n01443537", "n04067472"]
files, annotations = {}, []
for i, wnid in enumerate(tiny):
    for j in range(1 + i // 2):
        files[f"tiny-imagenet-200/train/{wnid}/images/{wnid}_{j}.JPEG"] = jpeg(picture(64, 64))
    files[f"tiny-imagenet-200/val/images/val_{7 - i}.JPEG"] = jpeg(picture(64, 64).convert("L") if i == 1 else picture(64, 64))
    annotations.append((f"val_{7 - i}.JPEG", wnid))
with zipfile.ZipFile(folder("tiny-imagenet-200") / "tiny-imagenet-200.zip", "w", zipfile.ZIP_DEFLATED) as archive:
    root = "tiny-imagenet-200/"
    archive.writestr(root + "wnids.txt", "\n".join(tiny) + "\n")
    archive.writestr(root + "words.txt", "n01443537\tgoldfish, Carassius auratus\nn02124075\tEgyptian cat\nn04067472\treel\n")
    archive.writestr(root + "val/val_annotations.txt", "".join(f"{f}\t{w}\t0\t32\t44\t62\n" for f, w in annotations))
    archive.writestr(root + "train/n01443537/n01443537_boxes.txt", "n01443537_0.JPEG\t0\t10\t63\t58\n")
    archive.writestr(root + "test/images/test_0.JPEG", jpeg(picture(64, 64)))
    for path, content in files.items():
        archive.writestr(path, content)
of_val = dict(annotations)
number = lambda k: sorted(tiny).index(k.split("/")[2] if "/train/" in k else of_val[k.split("/")[-1]])
pictures("tiny-imagenet-200", files, number, "val", 64, 64)

# A folder of pictures of one size, JPEG and PNG, some grey, some with a palette or transparency.
files = {}
for part in ["train", "test"]:
    for name in ["zebra", "ant", "Bee"]:
        files[f"/{part}/{name}/b.jpg"] = jpeg(picture(24, 20))
        files[f"/{part}/{name}/deep/a.PNG"] = png(picture(24, 20).convert("L"))
        files[f"/{part}/{name}/c.png"] = png(picture(24, 20).quantize(16))
for path, content in files.items():
    place = out / f"pictures{path}"
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(content)
(out / "pictures/train/ant/.hidden.jpg").write_bytes(b"no picture")
(out / "pictures/train/ant/notes.txt").write_text("ignored")
pictures("pictures", files, lambda k: sorted(["zebra", "ant", "Bee"]).index(k.split("/")[2]), "test", 24, 20)

images, labels, test_images, test_labels = noise(6, 3, 8, 9), np.array([0, 1, 2, 2, 1, 0]), noise(2, 3, 8, 9), np.array([2, 0])
arrays = {"images": images, "labels": labels, "test_images": test_images, "test_labels": test_labels}
np.savez(out / "plain.npz", **arrays)
np.savez_compressed(out / "packed.npz", **{**arrays, "labels": labels.astype(np.int32), "test_labels": test_labels.astype(np.uint8)})
np.savez_compressed(out / "floats.npz", images=images.astype(np.float32) / 255, labels=labels)
np.savez_compressed(out / "doubles.npz", images=images / 255, labels=labels)
np.savez(out / "nhwc.npz", images=images.transpose(0, 2, 3, 1), labels=labels)
np.savez(out / "fortran.npz", images=np.asfortranarray(images), labels=labels)
np.savez(out / "objects.npz", images=images, labels=np.array(["a", "b"], dtype=object))
expect("npz", images, labels, test_images, test_labels)
