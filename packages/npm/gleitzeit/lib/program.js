// Where the program is that belongs to this package: in the optional package of this platform.
"use strict";

const { optionalDependencies = {}, version } = require("../package.json");

/**
 * The path of the program `gleitzeit` for this platform.
 * @returns {string}
 * @throws {Error} if the package of this platform is not installed; the message says why that may be, and what to do.
 */
function program() {
  const name = `@gleitzeit/${process.platform}-${process.arch}`;
  try {
    return require.resolve(`${name}/bin/gleitzeit`);
  } catch {
    const known = Object.keys(optionalDependencies);
    const advice = known.includes(name)
      ? `install without --omit=optional or --no-optional, on the platform that runs it and with glibc (not musl), or install ` +
        `its file, ${name.slice(1).replace("/", "-")}-${version}.tgz, beside this package`
      : `there are ${known.join(", ")}; on Windows use WSL, elsewhere \`cargo install --locked --path .\` in a checkout`;
    throw new Error(`the package ${name}, which has the program for this platform, is not installed\n\nhint: ${advice}`);
  }
}

module.exports = { program };
