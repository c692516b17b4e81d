/** Atomic files and folders: the whole new content or the whole old one, and nothing left over. */
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { UserError } from "../../src/errors.js";
import {
  AppendOnlyFile,
  checkFolder,
  makeFolder,
  removeLeftovers,
  writeChunksAtomic,
  writeFileAtomic,
  writeFolderAtomic,
} from "../../src/io/files.js";

let folder: string;
beforeEach(() => {
  folder = fs.mkdtempSync(path.join(os.tmpdir(), "varidiff-files-"));
});
afterEach(() => {
  vi.restoreAllMocks();
  fs.rmSync(folder, { recursive: true, force: true });
});

/** What the kernel says through Node. */
function systemError(code: string): NodeJS.ErrnoException {
  return Object.assign(new Error(`${code}: injected`), { code });
}

function failing(code: string): () => never {
  return () => {
    throw systemError(code);
  };
}

describe("writeFileAtomic", () => {
  test("writes bytes and text, and replaces what is there", () => {
    const file = path.join(folder, "a");
    writeFileAtomic(file, Uint8Array.of(0, 255, 7));
    expect([...fs.readFileSync(file)]).toEqual([0, 255, 7]);
    writeFileAtomic(file, "σ²");
    expect(fs.readFileSync(file, "utf8")).toBe("σ²");
    expect(fs.readdirSync(folder)).toEqual(["a"]);
  });

  test("goes on after a write that took only a part", () => {
    const original = fs.writeSync as (...parameters: unknown[]) => number;
    const partial = (fd: unknown, data: unknown, offset: unknown, length: unknown) =>
      original(fd, data, offset, Math.min(3, length as number));
    vi.spyOn(fs, "writeSync").mockImplementation(partial as typeof fs.writeSync);
    writeChunksAtomic(path.join(folder, "a"), [Buffer.from("01234567"), Buffer.from("89")]);
    expect(fs.readFileSync(path.join(folder, "a"), "utf8")).toBe("0123456789");
  });

  test("syncs the file before it takes the name, and the folder after", () => {
    const calls: string[] = [];
    const { fsyncSync, renameSync } = fs;
    vi.spyOn(fs, "fsyncSync").mockImplementation((fd) => {
      calls.push(fs.fstatSync(fd).isDirectory() ? "sync folder" : "sync file");
      fsyncSync(fd);
    });
    vi.spyOn(fs, "renameSync").mockImplementation((from, to) => {
      calls.push("rename");
      renameSync(from, to);
    });
    writeFileAtomic(path.join(folder, "a"), "x");
    expect(calls).toEqual(["sync file", "rename", "sync folder"]);
  });

  const places = ["openSync", "writeSync", "fsyncSync", "renameSync"] as const;
  test.each(places)("keeps the old file when %s finds the disk full", (place) => {
    const file = path.join(folder, "a");
    writeFileAtomic(file, "old");
    vi.spyOn(fs, place).mockImplementationOnce(failing("ENOSPC"));
    let thrown: unknown;
    try {
      writeFileAtomic(file, "new");
    } catch (error) {
      thrown = error;
    }
    expect(thrown).toBeInstanceOf(UserError);
    expect((thrown as UserError).message).toBe(
      `cannot write ${file} (ENOSPC): no space is left on the device: free some and try again; nothing written earlier was lost`,
    );
    expect(fs.readFileSync(file, "utf8")).toBe("old");
    expect(fs.readdirSync(folder)).toEqual(["a"]);
  });

  test.each(["EACCES", "EROFS", "EDQUOT"])("says %s in one line", (code) => {
    vi.spyOn(fs, "openSync").mockImplementationOnce(failing(code));
    const file = path.join(folder, "a");
    expect(() => writeFileAtomic(file, "x")).toThrow(
      new RegExp(`^cannot write ${file} \\(${code}\\): [^\\n]+$`),
    );
  });

  test("does not dress up a defect as a user's mistake", () => {
    vi.spyOn(fs, "writeSync").mockImplementationOnce(failing("EBADF"));
    expect(() => writeFileAtomic(path.join(folder, "a"), "x")).toThrow("EBADF: injected");
    expect(fs.readdirSync(folder)).toEqual([]);
  });

  test("names a folder that is not there", () => {
    expect(() => writeFileAtomic(path.join(folder, "no", "a"), "x")).toThrow(UserError);
  });

  test("works where a folder cannot be synced", () => {
    const original = fs.fsyncSync;
    vi.spyOn(fs, "fsyncSync").mockImplementation((fd) => {
      if (fs.fstatSync(fd).isDirectory()) throw systemError("EINVAL");
      original(fd);
    });
    writeFileAtomic(path.join(folder, "a"), "x");
    expect(fs.readFileSync(path.join(folder, "a"), "utf8")).toBe("x");
  });
});

describe("writeFolderAtomic", () => {
  const fill = (content: string) => (temporary: string) => {
    fs.mkdirSync(path.join(temporary, "sub"));
    writeFileAtomic(path.join(temporary, "sub", "a"), content);
    fs.writeFileSync(path.join(temporary, "b"), content);
  };
  const read = (target: string) => [
    fs.readFileSync(path.join(target, "sub", "a"), "utf8"),
    fs.readFileSync(path.join(target, "b"), "utf8"),
  ];

  test("appears whole, and is replaced whole", () => {
    const target = path.join(folder, "7");
    writeFolderAtomic(target, (temporary) => {
      fill("one")(temporary);
      expect(fs.existsSync(target)).toBe(false);
    });
    expect(read(target)).toEqual(["one", "one"]);
    writeFolderAtomic(target, (temporary) => {
      fs.writeFileSync(path.join(temporary, "c"), "two");
    });
    expect(fs.readdirSync(target)).toEqual(["c"]);
    expect(fs.readdirSync(folder)).toEqual(["7"]);
  });

  test("syncs every file and folder in it", () => {
    const synced: string[] = [];
    const original = fs.fsyncSync;
    vi.spyOn(fs, "fsyncSync").mockImplementation((fd) => {
      synced.push(path.basename(fs.readlinkSync(`/proc/self/fd/${fd}`)));
      original(fd);
    });
    writeFolderAtomic(path.join(folder, "7"), (temporary) => {
      fs.mkdirSync(path.join(temporary, "sub"));
      fs.writeFileSync(path.join(temporary, "sub", "a"), "x");
    });
    expect(synced.map((name) => name.replace(/^\.tmp-.*/, "temporary"))).toEqual([
      "a",
      "sub",
      "temporary",
      path.basename(folder),
    ]);
  });

  test("keeps the old folder when writing fails, and names the final place", () => {
    const target = path.join(folder, "7");
    writeFolderAtomic(target, fill("old"));
    vi.spyOn(fs, "writeSync").mockImplementationOnce(failing("ENOSPC"));
    expect(() => writeFolderAtomic(target, fill("new"))).toThrow(`cannot write ${target} (ENOSPC)`);
    expect(read(target)).toEqual(["old", "old"]);
    expect(fs.readdirSync(folder)).toEqual(["7"]);
  });

  test("puts the old folder back when the new one cannot take its name", () => {
    const target = path.join(folder, "7");
    writeFolderAtomic(target, fill("old"));
    const original = fs.renameSync;
    vi.spyOn(fs, "renameSync").mockImplementation((from, to) => {
      if (/\.tmp-[0-9a-f]+$/.test(String(from)) && String(to) === target) throw systemError("EACCES");
      original(from, to);
    });
    expect(() => writeFolderAtomic(target, fill("new"))).toThrow(UserError);
    expect(read(target)).toEqual(["old", "old"]);
    expect(fs.readdirSync(folder)).toEqual(["7"]);
  });

  test.each([
    ["a defect", systemError("ENOENT")],
    ["advice", new UserError("cannot read the model", { cause: systemError("ENOENT") })],
  ])("lets %s of the caller through as it is", (_what, thrown) => {
    let caught: unknown;
    try {
      writeFolderAtomic(path.join(folder, "7"), () => {
        throw thrown;
      });
    } catch (error) {
      caught = error;
    }
    expect(caught).toBe(thrown);
    expect(fs.readdirSync(folder)).toEqual([]);
  });
});

test("makeFolder makes the folders above too, and names what is in the way", () => {
  makeFolder(path.join(folder, "a", "b"));
  makeFolder(path.join(folder, "a", "b"));
  expect(fs.statSync(path.join(folder, "a", "b")).isDirectory()).toBe(true);
  fs.writeFileSync(path.join(folder, "file"), "");
  expect(() => makeFolder(path.join(folder, "file", "c"))).toThrow(UserError);
});

describe("removeLeftovers", () => {
  test("deletes temporaries and nothing else", () => {
    fs.mkdirSync(path.join(folder, ".tmp-0123", "deep"), { recursive: true });
    fs.writeFileSync(path.join(folder, ".tmp-4567"), "half");
    fs.writeFileSync(path.join(folder, ".hidden"), "mine");
    fs.mkdirSync(path.join(folder, "7"));
    expect(removeLeftovers(folder)).toBe(2);
    expect(fs.readdirSync(folder).sort()).toEqual([".hidden", "7"]);
  });

  test("puts back the old folder after a crash between the two renames of a replacement", () => {
    const target = path.join(folder, "7");
    writeFolderAtomic(target, (temporary) => fs.writeFileSync(path.join(temporary, "a"), "old"));
    // The state such a crash leaves: the old folder is aside, the new one still has its temporary name.
    const original = fs.renameSync;
    const crashed: string[] = [];
    vi.spyOn(fs, "renameSync").mockImplementation((from, to) => {
      if (crashed.length > 0) throw systemError("EIO");
      original(from, to);
      crashed.push(String(to));
    });
    expect(() => writeFolderAtomic(target, () => {})).toThrow("EIO");
    vi.restoreAllMocks();
    expect(fs.existsSync(target)).toBe(false);
    expect(removeLeftovers(folder)).toBe(1);
    expect(fs.readFileSync(path.join(target, "a"), "utf8")).toBe("old");
    expect(fs.readdirSync(folder)).toEqual(["7"]);
  });

  test("deletes the old folder after a crash before its removal", () => {
    const target = path.join(folder, "7");
    fs.mkdirSync(target);
    fs.mkdirSync(path.join(folder, ".tmp-replaced-7"));
    removeLeftovers(folder);
    expect(fs.readdirSync(folder)).toEqual(["7"]);
  });
});

describe("AppendOnlyFile", () => {
  test("takes back a record that was written in part", () => {
    const file = path.join(folder, "log");
    const log = new AppendOnlyFile(file);
    log.append(Buffer.from("first;"));
    const original = fs.writeSync as (...parameters: unknown[]) => number;
    vi.spyOn(fs, "writeSync")
      .mockImplementationOnce(((fd: unknown, data: unknown) =>
        original(fd, data, 0, 2)) as typeof fs.writeSync)
      .mockImplementationOnce(failing("ENOSPC"));
    expect(() => log.append(Buffer.from("second;"))).toThrow(UserError);
    log.append(Buffer.from("third;"));
    log.close();
    expect(fs.readFileSync(file, "utf8")).toBe("first;third;");
    expect(() => log.append(Buffer.from("x"))).toThrow("is closed");
  });
});

describe("a file in the place of a folder", () => {
  test("is one line, whether the folder is made or looked for", () => {
    const file = path.join(folder, "file");
    fs.writeFileSync(file, "");
    expect(() => makeFolder(file)).toThrow(
      `cannot write ${file} (EEXIST): a file of that name is where a folder is needed`,
    );
    for (const place of [file, path.join(file, "below"), path.join(file, "far", "below")])
      expect(() => checkFolder(place)).toThrow(
        `cannot write ${place} (ENOTDIR): a part of the path is a file`,
      );
  });

  test("what can be made is not made", () => {
    checkFolder(path.join(folder, "new", "one"));
    checkFolder(folder);
    expect(fs.readdirSync(folder)).toEqual([]);
  });
});
