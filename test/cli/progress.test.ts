/** The progress line, drawn on a stream and by a clock that the test holds. */
import { expect, test } from "vitest";
import { createProgress, formatDuration } from "../../src/cli/progress.js";

function setUp(stream: { readonly isTTY: boolean; readonly columns?: number }, total = 10_000) {
  const written: string[] = [];
  let time = 0;
  const progress = createProgress({
    total,
    unit: "steps",
    label: "train",
    stream: { ...stream, write: (text: string) => written.push(text) },
    now: () => time,
  });
  /** What was written since last asked, with ">" for "go to the line's beginning and clear it". */
  const news = () => written.splice(0).join("").replaceAll("\r\x1b[K", ">");
  const at = (milliseconds: number) => {
    time = milliseconds;
  };
  return { progress, news, at };
}

test.each([
  [0, "0 s"],
  [59.4, "59 s"],
  [59.6, "1 min 00 s"],
  [125, "2 min 05 s"],
  [3599.7, "1 h 00 min"],
  [3720, "1 h 02 min"],
  [86_399, "1 d 00 h"],
  [3 * 86_400 + 4 * 3600, "3 d 04 h"],
])("%d s are %s", (seconds, text) => {
  expect(formatDuration(seconds)).toBe(text);
});

test("a live line is redrawn in place, ten times a second at most, and stays when done", () => {
  const { progress, news, at } = setUp({ isTTY: true, columns: 200 });
  progress.update(0, { "bits/dim": 8 });
  expect(news()).toBe(">train 0/10,000 steps (0 %)  bits/dim 8");
  at(99);
  progress.update(1, { "bits/dim": 7 });
  expect(news()).toBe("");
  at(10_000);
  progress.update(1000, { "bits/dim": 3.21987, "images/s": 1234.5 });
  expect(news()).toMatch(
    /^>train 1,000\/10,000 steps \(10 %\) {2}bits\/dim 3\.220 {2}images\/s 1,235 {2}.* left$/,
  );
  progress.log("sampled");
  expect(news()).toMatch(/^>sampled\n>train 1,000[^\n]* left$/);
  at(10_001);
  progress.update(10_000);
  expect(news()).toBe("");
  progress.done();
  expect(news()).toMatch(/^>train 10,000\/10,000 steps \(100 %\) [^\n]*\n$/);
});

test("a constant speed gives that speed and the time left, also for a job that began at half", () => {
  const { progress, news, at } = setUp({ isTTY: true, columns: 200 });
  for (let second = 0; second <= 60; second++) {
    at(1000 * second);
    progress.update(5000 + 8 * second);
  }
  // 5,480 of 10,000 steps at 8 steps/s: 4,520 / 8 = 565 s.
  expect(news()).toMatch(/ {2}8\.00 steps\/s {2}9 min 25 s left$/);
});

test("the live line never exceeds the terminal", () => {
  const { progress, news } = setUp({ isTTY: true, columns: 20 });
  progress.update(3, { "bits/dim": 3 });
  expect(news()).toBe(">train 3/10,000 ste…");
});

test("without a terminal there are plain lines, every 10 s at most, and the last state once", () => {
  const { progress, news, at } = setUp({ isTTY: false }, 100);
  progress.update(1, { note: "warm" });
  expect(news()).toBe("train 1/100 steps (1 %)  note warm\n");
  at(9_999);
  progress.update(2);
  expect(news()).toBe("");
  progress.log("a line");
  expect(news()).toBe("a line\n");
  at(10_000);
  progress.update(100);
  expect(news()).toMatch(/^train 100\/100 steps \(100 %\) [^\n]*\n$/);
  progress.done();
  expect(news()).toBe("");
});
