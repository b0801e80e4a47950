// Run by node: MODULES JOB ANSWER, a folder of node modules and two JSON files. Writes and reads arrays with zarrita.
import { readFile, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

const [modules, order, answers] = process.argv.slice(2);
const load = async (path) => import(pathToFileURL(join(modules, path)).href);
const zarr = await load("zarrita/dist/src/index.js");
const { default: FileSystemStore } = await load("@zarrita/storage/dist/src/fs.js");

process.on("unhandledRejection", () => {}); // zarrita throws beside the call too

const KINDS = {
  int8: Int8Array, uint8: Uint8Array, int16: Int16Array, uint16: Uint16Array, int32: Int32Array, uint32: Uint32Array,
  int64: BigInt64Array, uint64: BigUint64Array, float32: Float32Array, float64: Float64Array,
};

// node aborts when it is asked for what lies beyond a file: zarrita does so where it takes other bytes for a shard's index.
class Store extends FileSystemStore {
  async getRange(key, range, options) {
    const size = await stat(join(this.root, key)).then((found) => found.size, () => Infinity);
    if ("offset" in range && range.offset + range.length > size) throw new RangeError("beyond the end of the file");
    return super.getRange(key, range, options);
  }
}

function strides(shape) {
  return shape.map((_, i) => shape.slice(i + 1).reduce((a, b) => a * b, 1));
}

async function cells(item) {
  const bytes = await readFile(item.data);
  const buffer = bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength);
  return item.dtype === "bool" ? new zarr.BoolArray(buffer) : new KINDS[item.dtype](buffer);
}

async function write(item) {
  const store = new Store(item.path);
  const options = { shape: item.shape, chunkShape: item.chunks, dtype: item.dtype, codecs: item.codecs, ...item.how };
  const array = await zarr.create(zarr.root(store), options);
  await zarr.set(array, null, { data: await cells(item), shape: item.shape, stride: strides(item.shape) });
  return {};
}

async function open(item) {
  let store = new Store(item.path);
  if (item.consolidated) store = await zarr.withConsolidatedMetadata(store);
  const root = zarr.root(store);
  return zarr.open(item.component ? root.resolve(item.component) : root, { kind: item.kind ?? "array" });
}

async function read(item) {
  const array = await open(item);
  const found = await zarr.get(array);
  const did = { dtype: array.dtype, shape: array.shape, chunks: array.chunks, attributes: array.attrs };
  did.dimension_names = array.dimensionNames ?? null;
  if (array.shape.length === 0) return { ...did, list: [String(found)] };
  const { data } = found;
  did.stride = found.stride;
  if (Array.isArray(data) || !data.buffer || data.constructor.name.includes("String")) {
    return { ...did, list: Array.from(data) };
  }
  await writeFile(item.out, new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
  return did;
}

async function group(item) {
  const found = await open({ ...item, kind: "group" });
  return { attributes: found.attrs };
}

const DO = { write, read, group };
const done = [];
for (const item of JSON.parse(await readFile(order))) {
  try {
    done.push({ did: await DO[item.do](item) });
  } catch (error) {
    done.push({ error: `${error.name}: ${error.message}` + (error.cause ? ` (${error.cause.message})` : "") });
  }
}
await writeFile(answers, JSON.stringify(done, (_, value) => (typeof value === "bigint" ? String(value) : value)));
