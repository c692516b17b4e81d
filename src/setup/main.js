/** `node src/setup/main.js [--download [--url URL] [--sha256 HEX]]`: sets up a fresh clone before anything but Node is there. */
import { parseArgs } from "node:util";
import { createReporter } from "./report.js";
import { setUp } from "./set-up.js";
import { SetupError } from "./setup-error.js";

const { values } = parseArgs({
  options: { download: { type: "boolean" }, url: { type: "string" }, sha256: { type: "string" } },
});
const report = createReporter();
try {
  await setUp({ report, download: values.download ? { url: values.url, sha256: values.sha256 } : undefined });
} catch (error) {
  if (!(error instanceof SetupError)) throw error;
  report.note(error.message);
  process.exitCode = 1;
}
