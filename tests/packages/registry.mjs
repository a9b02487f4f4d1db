// A registry of npm with the tarballs of one folder: `node registry.mjs FOLDER`. Prints its address, and ends with the test.
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { readFileSync, readdirSync } from "node:fs";
import { createServer } from "node:http";
import { join } from "node:path";

const folder = process.argv[2];
const tarballs = readdirSync(folder).filter((name) => name.endsWith(".tgz"));
const packages = new Map();
let address;

for (const file of tarballs) {
  const content = readFileSync(join(folder, file));
  const manifest = JSON.parse(execFileSync("tar", ["xzOf", join(folder, file), "package/package.json"], { encoding: "utf8" }));
  const integrity = `sha512-${createHash("sha512").update(content).digest("base64")}`;
  packages.set(manifest.name, { file, manifest, integrity });
}

const server = createServer((request, response) => {
  const path = decodeURIComponent(request.url).slice(1);
  if (tarballs.includes(path)) {
    response.end(readFileSync(join(folder, path)));
    return;
  }
  const found = packages.get(path);
  if (!found) {
    response.writeHead(404, { "content-type": "application/json" }).end('{"error":"not found"}');
    return;
  }
  const { manifest, file, integrity } = found;
  const version = { ...manifest, dist: { tarball: `${address}/${file}`, integrity } };
  const document = { name: manifest.name, "dist-tags": { latest: manifest.version }, versions: { [manifest.version]: version } };
  response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(document));
});
server.listen(0, "127.0.0.1", () => {
  address = `http://127.0.0.1:${server.address().port}`;
  process.stdout.write(`${address}\n`);
});
