/** Node versions besides the one that runs the tests, from the npm registry. */
import { output } from './command.ts';

/** The path of the program `node` of a version (`22.19.0`, or `26` for the newest such), for this machine; npm keeps it. `cwd` is any directory. */
export function nodeProgram(version: string, cwd: string): Promise<string> {
  const machine = process.arch === 'arm64' ? 'arm64' : 'x64';
  const program = `node-linux-${machine}@${version}`;
  return output('npx', ['-y', '-p', program, 'node', '-p', 'process.execPath'], { cwd });
}
