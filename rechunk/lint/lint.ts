/** Which of an image's entries will break, or look other than meant, on which runtime. */
import { openImage, type PlatformChoice, type Source } from '../../registry/image.ts';
import { formatPlatform } from '../../registry/oci.ts';
import { type Path, showPath } from '../../registry/path.ts';
import { type RunOptions, withContext } from '../context.ts';
import { type Exceeded, exceededLimits, type Profile } from '../limits.ts';
import { flattenLayers, loadLayers } from '../load.ts';
import {
  type ComparedView,
  canBeRight,
  type Verdict,
  type ViewDifference,
} from '../runtimes/compare.ts';
import type { RuntimeModel } from '../runtimes/model.ts';
import { compareRuntimes } from '../runtimes/report.ts';
import { type Effect, effectsOf } from './effects.ts';
import { FindingCollector, type LintCode } from './findings.ts';

/** A finding, and what comes of it. */
export interface LintFinding {
  readonly code: LintCode;
  /** An absolute path, for people. */
  readonly at: string;
  /** The layers that have it, 1 the lowest; ascending. */
  readonly layers: readonly number[];
  /** What else there is to say, '' for nothing. */
  readonly detail: string;
  /** Empty where every runtime shows what is meant. */
  readonly effects: readonly Effect[];
}

/** What a runtime makes of the image. */
export interface LintedRuntime {
  readonly id: string;
  readonly name: string;
  /** `time`: nothing but times is other than meant. What no image can change does not count. */
  readonly verdict: Verdict;
  /** Where and why it refuses the image. */
  readonly refused?: { readonly layer: string; readonly at: string; readonly reason: string };
  /** How many paths it shows otherwise. */
  readonly paths: number;
  /** Some that no finding is about. */
  readonly unexplained: readonly ViewDifference[];
}

/** What lint found. */
export interface LintReport {
  readonly reference: string;
  readonly digest: string;
  readonly platform: string;
  /** Whether a runtime refuses the image or shows something other than meant, times and what no image can change aside, or the profile's refuses it. */
  readonly isWrong: boolean;
  /** Limits of consumers that its layers' number and sizes exceed: of the profile, else all. */
  readonly exceeded: readonly Exceeded[];
  readonly findings: readonly LintFinding[];
  readonly runtimes: readonly LintedRuntime[];
}

/** What is linted, and for whom. */
export interface LintOptions extends PlatformChoice {
  /** Default: all that are known. */
  readonly runtimes?: readonly RuntimeModel[] | undefined;
  /** Whom the image is for: what that consumer refuses is wrong. */
  readonly profile?: Profile | undefined;
}

/** Reads the image `source` and tells what runtimes will make of it; what is meant is what its layers flattened give. */
export async function lint(
  source: Source,
  options: LintOptions & RunOptions = {},
): Promise<LintReport> {
  return withContext(options, async (context) => {
    const { platform, hostPlatform } = options;
    const image = await openImage(source, { platform, hostPlatform });
    const loaded = await loadLayers(image, context);
    const collector = new FindingCollector();
    const { tree, warnings } = flattenLayers(loaded, collector);
    for (const warning of warnings) context.onNotice?.(warning);
    const views = compareRuntimes(tree, loaded.layers, options.runtimes);
    const effectsAt = effectsOf(views);
    const findings = collector.list().map(({ path, ...finding }): LintFinding => {
      const at = show(path);
      return { ...finding, at, effects: effectsAt(at) };
    });
    const { profile } = options;
    const exceeded = exceededLimits(image.manifestDocument, profile);
    const isRefused = exceeded.some(({ limit }) => profile?.refuses.includes(limit));
    const explained = new Set(findings.map(({ at }) => at));
    return {
      reference: source.reference,
      digest: image.manifestDocument.descriptor.digest,
      platform: formatPlatform(image.platform),
      isWrong: isRefused || views.some((one) => canBeRight(one) && one.verdict !== 'time'),
      exceeded,
      findings,
      runtimes: views.map((view) => describeRuntime(view, explained)),
    };
  });
}

function show(path: Path): string {
  return `/${showPath(path)}`;
}

/** What a marker of a deletion adds to the name that it deletes. */
const MARKER = /\/\.wh\.(?=[^/]+$)/;

/** Differences that no finding explains which a report names. */
const UNEXPLAINED = 5;

function describeRuntime(view: ComparedView, explained: ReadonlySet<string>): LintedRuntime {
  const { id, name, verdict, refused, differences } = view;
  return {
    id,
    name,
    verdict,
    ...(refused ? { refused } : {}),
    paths: new Set(differences.map(({ at }) => at)).size,
    unexplained: differences
      .filter(({ at }) => !explained.has(at.replace(MARKER, '/')))
      .slice(0, UNEXPLAINED),
  };
}
