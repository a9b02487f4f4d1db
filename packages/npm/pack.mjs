// Packs the npm packages: the main one, and one with the program for each platform that a binary is given for.
//
//   node packages/npm/pack.mjs OUT linux-x64=target/release/gleitzeit [linux-arm64=FILE …]
//
// Prints the tarballs, the platforms' first, since they are to be published first. The version is the one of `Cargo.toml`.
import { execFileSync } from "node:child_process";
import { chmodSync, copyFileSync, cpSync, mkdirSync, mkdtempSync, openSync, readFileSync, readSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const root = resolve(here, "../..");
const read = (path) => readFileSync(path, "utf8");
const own = JSON.parse(read(join(here, "gleitzeit/package.json")));

// All that the main package knows of. The first bytes of a binary, and where they begin, tell it from those of the others.
const ELF = (machine) => [[0, "7f454c4602"], [18, machine]];
const MACH_O = (machine) => [[0, "cffaedfe"], [4, machine]];
const PLATFORMS = {
  "linux-x64": { system: "Linux with glibc on x86-64", bytes: ELF("3e00"), libc: ["glibc"] },
  "linux-arm64": { system: "Linux with glibc on ARM64", bytes: ELF("b700"), libc: ["glibc"] },
  "darwin-x64": { system: "macOS on x86-64", bytes: MACH_O("07000001") },
  "darwin-arm64": { system: "macOS on ARM64", bytes: MACH_O("0c000001") },
};

function fail(message, hint) {
  process.stderr.write(`pack.mjs: ${message}\n\nhint: ${hint}\n`);
  process.exit(2);
}

function version() {
  const found = /^\[workspace\.package\]$[^[]*?^version = "([^"]+)"$/m.exec(read(join(root, "Cargo.toml")));
  return found?.[1] ?? fail("Cargo.toml has no version below [workspace.package]", "it is the only place of the version");
}

/** Whether a file is a program for the platform. */
function fits(file, { bytes }) {
  const start = Buffer.alloc(32);
  readSync(openSync(file, "r"), start);
  return bytes.every(([at, hex]) => start.subarray(at).toString("hex").startsWith(hex));
}

/** Lets npm pack a folder; returns the tarball's path. */
function pack(folder, out) {
  // Nothing of it comes from a registry.
  const answer = execFileSync("npm", ["pack", folder, "--json", "--offline", "--pack-destination", out], { encoding: "utf8" });
  return join(out, JSON.parse(answer)[0].filename);
}

function platformPackage(stage, platform, binary) {
  const folder = join(stage, platform);
  const { system, libc } = PLATFORMS[platform];
  const [os, cpu] = platform.split("-");
  mkdirSync(join(folder, "bin"), { recursive: true });
  copyFileSync(binary, join(folder, "bin/gleitzeit"));
  chmodSync(join(folder, "bin/gleitzeit"), 0o755);
  const name = `@gleitzeit/${platform}`;
  const { keywords, license, homepage, repository, bugs } = own;
  const description = `The program gleitzeit for ${system}; a part of the package gleitzeit`;
  const manifest = { name, version: version(), description, keywords, license, homepage, repository, bugs, os: [os], cpu: [cpu], libc };
  writeFileSync(join(folder, "package.json"), JSON.stringify({ ...manifest, files: ["bin", "LICENSE-APACHE", "LICENSE-MIT"], preferUnplugged: true }, null, 2));
  writeFileSync(join(folder, "README.md"), `# ${name}\n\n${description}.\n`);
  return folder;
}

function mainPackage(stage) {
  const folder = join(stage, "gleitzeit");
  cpSync(join(here, "gleitzeit"), folder, { recursive: true });
  const names = Object.keys(PLATFORMS).map((platform) => [`@gleitzeit/${platform}`, version()]);
  const manifest = { ...own, version: version(), optionalDependencies: Object.fromEntries(names) };
  writeFileSync(join(folder, "package.json"), JSON.stringify(manifest, null, 2));
  return folder;
}

const [out, ...given] = process.argv.slice(2);
if (!out || given.length === 0) {
  fail("no folder or no binary is given", "node packages/npm/pack.mjs OUT linux-x64=target/release/gleitzeit");
}
const binaries = given.map((argument) => {
  const [platform, ...rest] = argument.split("=");
  const file = rest.join("=");
  if (!PLATFORMS[platform]) fail(`\`${argument}\` names no platform`, `write PLATFORM=FILE with one of ${Object.keys(PLATFORMS).join(", ")}`);
  try {
    if (!fits(file, PLATFORMS[platform])) fail(`${file} is no program for ${PLATFORMS[platform].system}`, "build it for that target");
  } catch (error) {
    fail(`${file} cannot be read: ${error.message}`, "cargo build --release makes target/release/gleitzeit");
  }
  return [platform, file];
});

mkdirSync(out, { recursive: true });
const stage = mkdtempSync(join(tmpdir(), "gleitzeit-npm-"));
try {
  const folders = [...binaries.map(([platform, file]) => platformPackage(stage, platform, file)), mainPackage(stage)];
  for (const folder of folders) {
    for (const name of ["LICENSE", "LICENSE-APACHE", "LICENSE-MIT"]) copyFileSync(join(root, name), join(folder, name));
    process.stdout.write(`${pack(folder, resolve(out))}\n`);
  }
} finally {
  rmSync(stage, { recursive: true, force: true });
}
