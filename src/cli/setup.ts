/** `varidiff setup`: builds the bridge to libtorch, and fetches a libtorch where that is asked for. */
import { Command } from "commander";
import { UserError } from "../errors.js";
import { setUp } from "../setup/set-up.js";
import { SetupError } from "../setup/setup-error.js";
import { emit } from "./output.js";

interface SetupFlags {
  readonly download?: true;
  readonly url?: string;
  readonly sha256?: string;
  readonly json?: true;
}

const EXAMPLES = `
libtorch is looked for in: LIBTORCH (a folder with include/ and lib/); the torch of python3; that of
/usr/bin/python3; Debian's libtorch-dev; an archive fetched before by --download.

Examples:
  varidiff setup                                   system packages where apt may, then the bridge
  varidiff setup --download                        an official CPU build (2.5.1), checked by its SHA-256
  varidiff setup --download --url URL --sha256 HEX another archive, such as one with CUDA
  LIBTORCH=/opt/libtorch varidiff setup            the bridge against this one
`;

/** The command; the build's story goes to stderr, what was built to stdout. */
export function setupCommand(): Command {
  return new Command("setup")
    .description("Build the bridge to libtorch; a second run does only what has changed.")
    .option("--download", "fetch an official libtorch archive into the cache folder first")
    .option("--url <url>", "with --download: another archive")
    .option("--sha256 <hex>", "with --download: the checksum of that archive")
    .option("--json", "print what was built as JSON")
    .addHelpText("after", EXAMPLES)
    .action(async ({ download, url, sha256, json }: SetupFlags) => {
      if (!download && (url ?? sha256) !== undefined) {
        throw new UserError("--url and --sha256 belong to --download: add it");
      }
      const built = await setUp(download ? { download: { url, sha256 } } : {}).catch((error: unknown) => {
        throw error instanceof SetupError ? new UserError(error.message, { cause: error }) : error;
      });
      const { version, source } = built.libtorch;
      emit(built, { json, text: () => `bridge to libtorch ${version} (${source}): ${built.addon}` });
    });
}
