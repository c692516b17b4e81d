/** Fetching a libtorch archive, from a server of the test's own. */
import { createHash } from "node:crypto";
import fs from "node:fs";
import http from "node:http";
import type { AddressInfo } from "node:net";
import os from "node:os";
import path from "node:path";
import zlib from "node:zlib";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { downloadLibtorch } from "../../src/setup/download.js";
import type { Reporter } from "../../src/setup/report.js";

const silent: Reporter = { note: () => {}, step: (_, work) => work(() => {}) };

/** A zip archive of uncompressed files (APPNOTE.TXT 6.3: local headers, central directory, its end). */
function zip(files: Readonly<Record<string, string>>): Buffer {
  const local: Buffer[] = [];
  const central: Buffer[] = [];
  let offset = 0;
  for (const [name, text] of Object.entries(files)) {
    const data = Buffer.from(text);
    const common = Buffer.alloc(26);
    common.writeUInt16LE(20, 0);
    common.writeUInt32LE(zlib.crc32(data), 10);
    common.writeUInt32LE(data.length, 14);
    common.writeUInt32LE(data.length, 18);
    common.writeUInt16LE(Buffer.byteLength(name), 22);
    const entry = [Buffer.from("PK\x03\x04"), common, Buffer.from(name), data];
    const tail = Buffer.alloc(14);
    tail.writeUInt32LE(offset, 10);
    central.push(Buffer.from("PK\x01\x02\x14\x00"), common, tail, Buffer.from(name));
    local.push(...entry);
    offset += Buffer.concat(entry).length;
  }
  const directory = Buffer.concat(central);
  const end = Buffer.alloc(18);
  end.writeUInt16LE(Object.keys(files).length, 4);
  end.writeUInt16LE(Object.keys(files).length, 6);
  end.writeUInt32LE(directory.length, 8);
  end.writeUInt32LE(offset, 12);
  return Buffer.concat([...local, directory, Buffer.from("PK\x05\x06"), end]);
}

const archives: Readonly<Record<string, Buffer>> = {
  "/good.zip": zip({ "libtorch/build-version": "2.5.1+cpu\n", "libtorch/lib/libtorch_cpu.so": "a library" }),
  "/escape.zip": zip({ "libtorch/build-version": "2.5.1\n", "../../escaped": "out" }),
  "/other.zip": zip({ "readme.txt": "something else" }),
  "/no-zip.zip": Buffer.from("this is no archive"),
};
const sha256 = (name: string) =>
  createHash("sha256")
    .update(archives[name] ?? "")
    .digest("hex");

let base: string;
let folder: string;
const server = http.createServer((request, response) => {
  const [name, query] = (request.url ?? "").split("?");
  const body = archives[name ?? ""];
  if (!body) {
    response.writeHead(404).end();
  } else if (query === "cut") {
    response.writeHead(200, { "content-length": body.length });
    response.write(body.subarray(0, body.length - 20), () => response.destroy());
  } else {
    response.writeHead(200, { "content-length": body.length }).end(body);
  }
});
beforeAll(async () => {
  base = fs.mkdtempSync(path.join(os.tmpdir(), "varidiff-download-"));
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
});
afterAll(() => {
  server.close();
  fs.rmSync(base, { recursive: true });
});
beforeEach(() => {
  folder = path.join(base, "cache");
  fs.rmSync(folder, { recursive: true, force: true });
});

function download(name: string, sum = sha256(name.replace("?cut", ""))): Promise<string> {
  const { port } = server.address() as AddressInfo;
  return downloadLibtorch({ url: `http://127.0.0.1:${port}${name}`, sha256: sum, folder, report: silent });
}

describe("downloadLibtorch", () => {
  it("unpacks below the archive's own version, also over an earlier copy", async () => {
    for (let time = 0; time < 2; time++) {
      const libtorch = await download("/good.zip");
      expect(libtorch).toBe(path.join(folder, "2.5.1+cpu", "libtorch"));
      expect(fs.readFileSync(path.join(libtorch, "lib", "libtorch_cpu.so"), "utf8")).toBe("a library");
      expect(fs.readdirSync(folder)).toEqual(["2.5.1+cpu"]);
      expect(fs.readdirSync(path.join(folder, "2.5.1+cpu"))).toEqual(["libtorch"]);
    }
  });

  it("takes a checksum in capitals", async () => {
    await expect(download("/good.zip", sha256("/good.zip").toUpperCase())).resolves.toContain("2.5.1");
  });

  it("refuses another checksum before unpacking, and names both", async () => {
    const wrong = "0".repeat(64);
    const failure = await download("/good.zip", wrong).catch((error: Error) => error);
    expect(failure).toMatchObject({ name: "SetupError" });
    expect((failure as Error).message).toContain(`its SHA-256 is ${sha256("/good.zip")}, not ${wrong}`);
    expect(fs.readdirSync(folder)).toEqual([]);
  });

  it.each([
    ["/missing.zip", /missing\.zip answered 404/],
    ["/good.zip?cut", /broke off after \d+ of \d+ bytes/],
    ["/escape.zip", /cannot be unpacked: .*\.\.\/\.\.\/escaped/],
    ["/other.zip", /is no libtorch archive: it holds no libtorch\/build-version/],
    ["/no-zip.zip", /cannot be unpacked: /],
  ])("refuses %s and leaves nothing behind", async (name, message) => {
    const failure = await download(name).catch((error: Error) => error);
    expect(failure).toMatchObject({ name: "SetupError", message: expect.stringMatching(message) });
    expect(fs.readdirSync(folder)).toEqual([]);
    expect(fs.readdirSync(base)).toEqual(["cache"]);
  });

  it("says so where no server answers", async () => {
    const dead = http.createServer();
    await new Promise<void>((resolve) => dead.listen(0, "127.0.0.1", resolve));
    const { port } = dead.address() as AddressInfo;
    await new Promise((resolve) => dead.close(resolve));
    const url = `http://127.0.0.1:${port}/good.zip`;
    const attempt = downloadLibtorch({ url, sha256: "0".repeat(64), folder, report: silent });
    await expect(attempt).rejects.toThrow(/cannot be reached: .*ECONNREFUSED/);
  });

  it.each([
    [{ url: "http://127.0.0.1/a.zip" }, /--url needs --sha256/],
    [{ url: "no address", sha256: "0".repeat(64) }, /--url expects an http\(s\) address, not "no address"/],
    [{ sha256: "abc" }, /--sha256 expects 64 hexadecimal digits, not "abc"/],
  ])("refuses %j before it asks anyone", async (options, message) => {
    await expect(downloadLibtorch({ ...options, folder, report: silent })).rejects.toThrow(message);
  });
});
