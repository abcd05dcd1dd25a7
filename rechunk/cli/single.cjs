#!/usr/bin/env node
// Where the single-file build begins, in its threads too: .ci/single.ts bundles what is named here.
'use strict';
if (require('node:worker_threads').isMainThread)
  require('./startup.cjs')(() => import('./main.ts'), __filename);
else import('../worker.ts');
