#!/usr/bin/env python3
"""Writes the small ONNX models that the tests of stoker-worker-onnx run, without any ONNX package.

    make_onnx.py            writes NAME.onnx beside this file
    make_onnx.py --check    exits 1 if a file there is not what would be written

A model is a protocol buffer; the field numbers below are those of onnx.proto3 (IR version 8).
"""
import pathlib
import sys

FLOAT, UINT8, INT8, UINT16, INT16, INT32, INT64, STRING, BOOL, FP16, DOUBLE, UINT32, UINT64 = range(1, 14)
BF16 = 16
TYPES = {"bool": BOOL, "int8": INT8, "int16": INT16, "int32": INT32, "int64": INT64,
         "uint8": UINT8, "uint16": UINT16, "uint32": UINT32, "uint64": UINT64,
         "fp16": FP16, "bf16": BF16, "fp32": FLOAT, "fp64": DOUBLE, "bytes": STRING}


def varint(n):
    out = b""
    while n > 0x7F:
        out, n = out + bytes([n & 0x7F | 0x80]), n >> 7
    return out + bytes([n])


def field(number, value):
    """One field: an int as a varint; text or an encoded message with its length."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(data)) + data


def tensor(name, elem_type, shape):
    """ValueInfoProto. A dimension is a number or the name of a free one; [] is a scalar."""
    dims = b"".join(field(1, field(1 if isinstance(d, int) else 2, d)) for d in shape)
    return field(1, name) + field(2, field(1, field(1, elem_type) + field(2, dims)))


def node(op, inputs, outputs, attributes=b""):
    names = b"".join(field(1, i) for i in inputs) + b"".join(field(2, o) for o in outputs)
    return names + field(4, op) + attributes


def graph(name, nodes, inputs, outputs):
    return (b"".join(field(1, n) for n in nodes) + field(2, name) +
            b"".join(field(11, i) for i in inputs) + b"".join(field(12, o) for o in outputs))


def model(graph_proto):
    return (field(1, 8) + field(2, "stoker tests") + field(7, graph_proto) +
            field(8, field(1, "") + field(2, 16)))


def arithmetic():
    """sum = a + b and ratio = a / b (infinite and NaN on demand); twice = k + k."""
    vector = ["n"]
    return graph("arithmetic",
                 [node("Add", ["a", "b"], ["sum"]), node("Div", ["a", "b"], ["ratio"]),
                  node("Add", ["k", "k"], ["twice"])],
                 [tensor("a", FLOAT, vector), tensor("b", FLOAT, vector), tensor("k", INT64, [1])],
                 [tensor("sum", FLOAT, vector), tensor("ratio", FLOAT, vector),
                  tensor("twice", INT64, [1])])


def identity():
    """Every datatype of the protocol in, the same out: TYPE -> TYPE_out, shape [rows, 2]."""
    shape = ["rows", 2]
    return graph("identity", [node("Identity", [t], [t + "_out"]) for t in TYPES],
                 [tensor(t, e, shape) for t, e in TYPES.items()],
                 [tensor(t + "_out", e, shape) for t, e in TYPES.items()])


def loop():
    """result = x + x * rounds, one addition per round: runs for as long as a test needs."""
    body = graph("body",
                 [node("Identity", ["go"], ["go_on"]), node("Add", ["x_in", "x"], ["x_out"])],
                 [tensor("round", INT64, []), tensor("go", BOOL, []), tensor("x_in", FLOAT, [1])],
                 [tensor("go_on", BOOL, []), tensor("x_out", FLOAT, [1])])
    graph_attribute = field(5, field(1, "body") + field(6, body) + field(20, 5))
    return graph("loop", [node("Loop", ["rounds", "", "x"], ["result"], graph_attribute)],
                 [tensor("rounds", INT64, []), tensor("x", FLOAT, [1])],
                 [tensor("result", FLOAT, [1])])


def main():
    folder = pathlib.Path(__file__).parent
    stale = []
    for make in (arithmetic, identity, loop):
        path = folder / f"{make.__name__}.onnx"
        wanted = model(make())
        if "--check" not in sys.argv:
            path.write_bytes(wanted)
        elif not path.exists() or path.read_bytes() != wanted:
            stale.append(path.name)
    if stale:
        sys.exit(f"{', '.join(stale)}: not what make_onnx.py writes; run it again")


if __name__ == "__main__":
    main()
