#!/usr/bin/env python3
"""Writes tests/golden/foreign.h5 with h5py, for tests/test_hdf5.c; or prints what h5py sees in a file.

usage: make_hdf5_golden.py [--out tests/golden/foreign.h5]
       make_hdf5_golden.py --show FILE.h5
needs: h5py, numpy.

The file is in the old format, which h5py still writes by default, and holds one of everything: what is read, and what
has to be passed over with a sentence. Numbers are (i mod 7 - 3) / 4, exact in every float type."""
import argparse

import h5py
import numpy as np


def bfloat16():
    kind = h5py.h5t.IEEE_F32BE.copy()
    kind.set_fields(15, 7, 8, 0, 7)
    kind.set_size(2)
    kind.set_ebias(127)
    return kind


def write(path):
    quarters = (np.arange(600) % 7 - 3) / 4
    with h5py.File(path, "w") as file:
        file.attrs["fixed"] = np.bytes_(b"abc")
        file.attrs["variable"] = "caf\u00e9"
        file.attrs["numbers"] = [1, 2, 3]
        file["half_big"] = quarters[:30].reshape(5, 6).astype(">f2")
        file.create_dataset("packed", data=quarters.reshape(20, 30).astype("<f4"), chunks=(7, 30), compression="gzip",
                            shuffle=True, fletcher32=True)
        file.create_dataset("chunked", data=(1000 * np.arange(600) - 5).reshape(20, 30).astype(">i4"), chunks=(6, 7),
                            maxshape=(None, 30))
        file.create_dataset("scaled", data=np.arange(64, dtype="<i2"), chunks=(64,), scaleoffset=0)
        file["flags"] = np.array([True, False, True, True, False])
        file["rank7"] = np.arange(24, dtype="u1").reshape(1, 2, 1, 3, 1, 4, 1)
        file.create_dataset("unwritten", (3, 4), "<f4", fillvalue=2.5)
        file["groups/deep/x"] = quarters[:12]
        file["groups/again"] = file["groups/deep/x"]
        file["groups/loop"] = file["groups"]
        brain = h5py.h5d.create(file.id, b"brain", bfloat16(), h5py.h5s.create_simple((14,)))
        brain.write(h5py.h5s.ALL, h5py.h5s.ALL, quarters[:14].astype("<f4"))
        file["compound"] = np.zeros(3, dtype=[("r", "<f4"), ("i", "<f4")])
        file["text"] = ["one", "two"]
        file.create_dataset("enumeration", (3,), h5py.enum_dtype({"RED": 0, "GREEN": 1}, "i1"))
        file["named"] = np.dtype("<f4")
        file["null"] = h5py.Empty("f4")
        file["soft"] = h5py.SoftLink("/packed")
        file["external"] = h5py.ExternalLink("other.h5", "/x")
        file.create_dataset("elsewhere", (4,), "<f4", external=[("other.bin", 0, 16)])
        file.create_dataset("lzf", data=quarters, compression="lzf")
        layout = h5py.VirtualLayout((4,), "<f4")
        layout[:] = h5py.VirtualSource("other.h5", "x", (4,))
        file.create_virtual_dataset("virtual", layout)


def show(path):
    def line(name, item):
        if isinstance(item, h5py.Dataset):
            print(name, item.dtype, item.shape, item.chunks, "fletcher32" if item.fletcher32 else "", dict(item.attrs),
                  item[()].tobytes()[:24].hex())

    with h5py.File(path, "r") as file:
        for key, value in sorted(file.attrs.items()):
            print("%s = %r" % (key, value))
        file.visititems(line)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", default="tests/golden/foreign.h5")
    parser.add_argument("--show")
    arguments = parser.parse_args()
    if arguments.show:
        show(arguments.show)
    else:
        write(arguments.out)


if __name__ == "__main__":
    main()
