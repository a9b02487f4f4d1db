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

// At a terminal the program stays in its group: it reads keys, is resized, and Ctrl-Z stops it. Without one it has a group of its
// own, for else a signal to the whole group would reach it twice, once by itself and once from here, and the second signal ends it
// at once, without a drain.
const atTerminal = [process.stdin, process.stdout, process.stderr].some((stream) => stream.isTTY);

let child;
try {
  // Help and errors say the name that was typed.
  const argv0 = basename(process.argv[1]) === "gz" ? "gz" : "gleitzeit";
  child = spawn(program(), process.argv.slice(2), { stdio: "inherit", argv0, detached: !atTerminal });
} catch (error) {
  fail(error);
}

// A terminal gives all of these but SIGTERM to both processes; what was sent to this one alone is passed on.
for (const signal of ["SIGINT", "SIGQUIT", "SIGHUP", "SIGTERM"]) {
  const passOn = signal === "SIGTERM" || !atTerminal;
  process.on(signal, () => passOn && child.kill(signal));
}

child.on("error", fail);
child.on("exit", (code, signal) => {
  // As shells say it.
  process.exitCode = signal ? 128 + constants.signals[signal] : code;
});
