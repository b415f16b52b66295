// Builds the page into dist/, the same bytes on every machine: one script, one style sheet, the page, its icon, and each of them
// compressed. Compression is by a library of JavaScript, because that of node differs from version to version.
import { readFileSync, writeFileSync, mkdirSync, rmSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import { gzipSync } from "fflate";

const here = dirname(fileURLToPath(import.meta.url));
const out = process.argv[2] ?? join(here, "dist");

const built = await build({
  absWorkingDir: here,
  entryPoints: { app: "src/main.jsx" },
  outdir: out,
  bundle: true,
  minify: true,
  format: "esm",
  target: ["es2022"],
  jsx: "automatic",
  jsxImportSource: "preact",
  legalComments: "eof",
  charset: "utf8",
  write: false,
});

const files = new Map(built.outputFiles.map((file) => [file.path.slice(file.path.lastIndexOf("/") + 1), file.contents]));
for (const name of ["index.html", "icon.svg"]) {
  files.set(name, new Uint8Array(readFileSync(join(here, "src", name))));
}

rmSync(out, { recursive: true, force: true });
mkdirSync(out, { recursive: true });
let total = 0;
for (const name of [...files.keys()].sort()) {
  const bytes = files.get(name);
  const packed = gzipSync(bytes, { level: 9, mtime: new Date("1980-01-02T00:00:00Z") });
  packed.fill(0, 4, 8); // the time, which would depend on the time zone
  writeFileSync(join(out, name), bytes);
  writeFileSync(join(out, `${name}.gz`), packed);
  total += packed.length;
  console.log(`${name}: ${bytes.length} bytes, ${packed.length} compressed`);
}
console.log(`${total} bytes compressed in all`);
