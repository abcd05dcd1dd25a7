/**
 * The script of the page, with the parts of ECharts that it uses and their licences. In a checkout it is bundled when it is asked for;
 * builds put a module in the place of this one that has it as text (`.ci/page.ts`).
 */

let bundled: Promise<{ readonly script: string }> | undefined;

/** The script, which needs nothing else. */
export async function pageScript(): Promise<string> {
  const bundler: string = new URL('../../../.ci/page.ts', import.meta.url).href;
  bundled ??= import(bundler).then(({ bundlePage }) => bundlePage());
  return (await bundled).script;
}
