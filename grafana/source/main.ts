import { mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { generatedFiles } from "./files.js";

/** `npm run grafana`: writes what is generated where it is committed. */
const directory = fileURLToPath(new URL("../../../grafana", import.meta.url));
for (const [path, content] of generatedFiles()) {
  mkdirSync(dirname(join(directory, path)), { recursive: true });
  writeFileSync(join(directory, path), content);
}
