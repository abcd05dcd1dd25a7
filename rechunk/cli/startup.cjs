// What comes before the command line is loaded. Kept to syntax that old Node versions understand, so that they get one clear line
// instead of a stack trace.
'use strict';
const WANTED = [22, 19];

/** Runs the command line that `load` gives, a promise of main.ts; where Node is too old, it says how `file`, where it began, runs on another. */
module.exports = function start(load, file) {
  const version = process.versions.node.split('.').map(Number);
  if (version[0] < WANTED[0] || (version[0] === WANTED[0] && version[1] < WANTED[1])) {
    const wanted = WANTED.join('.');
    // Not by this package's name, which on npm is another project's.
    const command = ['npx -y node@24', file].concat(process.argv.slice(2)).join(' ');
    process.stderr.write(
      `rechunk needs Node ${wanted} or later, this is ${process.versions.node}; run: ${command}\n`,
    );
    process.exit(2);
  }
  // The thread pool that compresses, decompresses and flushes; its size is read once, when it is first used.
  if (!process.env.UV_THREADPOOL_SIZE) {
    const cores = require('node:os').availableParallelism();
    process.env.UV_THREADPOOL_SIZE = String(Math.max(4, cores + 2));
  }
  load().then(
    (cli) => cli.main(process.argv),
    (error) => {
      process.stderr.write(`rechunk cannot start: ${error.stack || error}\n`);
      process.exit(2); // 1 would mean that two images differ
    },
  );
};
