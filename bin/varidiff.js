#!/usr/bin/env node
/** The executable: hands over to the built command line, or says how to build it. */
import fs from "node:fs";

const built = new URL("../dist/cli/main.js", import.meta.url);
if (fs.existsSync(built)) {
  const { main } = await import(built.href);
  await main(process.argv.slice(2));
} else {
  process.stderr.write('varidiff: not built yet; run "npm run setup" in the folder of varidiff\n');
  process.exitCode = 1;
}
