#!/usr/bin/env node
'use strict';
// In a checkout there is only the TypeScript source.
const built = require('node:fs').existsSync(`${__dirname}/main.js`);
const load = () => import(built ? './main.js' : './main.ts');
require('./startup.cjs')(load, __filename);
