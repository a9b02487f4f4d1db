#!/usr/bin/env node
// Runs the program of this platform: same arguments, streams and exit code. Both `gleitzeit` and `gz` are this file.
"use strict";

const { spawn } = require("node:child_process");
const { constants } = require("node:os");
const { basename } = require("node:path");
const { program } = require("../lib/program.js");

function fail(error) {
  process.stderr.write(`gleitzeit: ${error.message}\n`);
  process.exit(1);
}

let child;
try {
  // Help and errors say the name that was typed.
  const argv0 = basename(process.argv[1]) === "gz" ? "gz" : "gleitzeit";
  child = spawn(program(), process.argv.slice(2), { stdio: "inherit", argv0 });
} catch (error) {
  fail(error);
}

// A terminal gives these to both processes; only what was sent to this one alone is passed on, for the second signal ends
// the program at once.
const atTerminal = [process.stdin, process.stdout, process.stderr].some((stream) => stream.isTTY);
for (const signal of ["SIGINT", "SIGQUIT", "SIGHUP", "SIGTERM"]) {
  const passOn = signal === "SIGTERM" || !atTerminal;
  process.on(signal, () => passOn && child.kill(signal));
}

child.on("error", fail);
child.on("exit", (code, signal) => {
  // As shells say it.
  process.exitCode = signal ? 128 + constants.signals[signal] : code;
});
