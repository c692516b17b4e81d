/** The pickle of a state dict, protocol 2, as `torch.save` writes it and `torch.load(weights_only=True)` takes it. */
import type { StoredTensor } from "../safetensors.js";
import { opcodes as op } from "./opcodes.js";
import { storageType } from "./torch-objects.js";

const PROTOCOL = 2;

/** `OrderedDict({name: tensor, ...})`; the tensor at place i lies in the storage of key `i`, all of it. */
export function pickleStateDict(tensors: readonly (readonly [string, StoredTensor])[]): Uint8Array {
  return Buffer.concat([
    Buffer.of(op.PROTO, PROTOCOL),
    emptyOrderedDict,
    Buffer.of(op.MARK),
    ...tensors.flatMap(([name, tensor], i) => [text(name), rebuiltTensor(tensor, String(i))]),
    Buffer.of(op.SETITEMS, op.STOP),
  ]);
}

/** `torch._utils._rebuild_tensor_v2(storage, 0, shape, strides, False, OrderedDict())` */
function rebuiltTensor({ dtype, shape }: StoredTensor, key: string): Buffer {
  const length = shape.reduce((product, n) => product * n, 1);
  const id = tuple([
    text("storage"),
    global("torch", storageType(dtype)),
    text(key),
    text("cpu"),
    whole(length),
  ]);
  const given = [
    Buffer.concat([id, Buffer.of(op.BINPERSID)]),
    whole(0),
    tuple(shape.map(whole)),
    tuple(stridesOf(shape).map(whole)),
    Buffer.of(op.NEWFALSE),
    emptyOrderedDict,
  ];
  return Buffer.concat([global("torch._utils", "_rebuild_tensor_v2"), tuple(given), Buffer.of(op.REDUCE)]);
}

/** Of a contiguous tensor; PyTorch counts an empty axis as one of length 1. */
function stridesOf(shape: readonly number[]): number[] {
  return shape.map((_, axis) => shape.slice(axis + 1).reduce((product, n) => product * Math.max(n, 1), 1));
}

function global(module: string, name: string): Buffer {
  return Buffer.concat([Buffer.of(op.GLOBAL), Buffer.from(`${module}\n${name}\n`)]);
}

const emptyOrderedDict = Buffer.concat([
  global("collections", "OrderedDict"),
  Buffer.of(op.EMPTY_TUPLE, op.REDUCE),
]);

function tuple(items: readonly Buffer[]): Buffer {
  return Buffer.concat([Buffer.of(op.MARK), ...items, Buffer.of(op.TUPLE)]);
}

function text(value: string): Buffer {
  const bytes = Buffer.from(value, "utf8");
  const head = Buffer.alloc(5, op.BINUNICODE);
  head.writeUInt32LE(bytes.length, 1);
  return Buffer.concat([head, bytes]);
}

/** A whole number from 0: of 31 bits as BININT, else of eight bytes. */
function whole(value: number): Buffer {
  if (value < 2 ** 31) {
    const bytes = Buffer.alloc(5, op.BININT);
    bytes.writeInt32LE(value, 1);
    return bytes;
  }
  const bytes = Buffer.alloc(10);
  bytes.set([op.LONG1, 8]);
  bytes.writeBigInt64LE(BigInt(value), 2);
  return bytes;
}
