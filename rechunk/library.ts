/**
 * What the folder offers to programs, as `import … from 'rechunk'`: a function for each command of the command line, the options
 * that it takes and what it gives. LIBRARY.md describes it, by programs that run.
 */

export type { Obstacle, ObstacleKind } from '../registry/chunked/rules.ts';
export type { OpenBase } from './below.ts';
export type { CacheOptions } from './cache/cache.ts';
export type { PartialPulls } from './chunked.ts';
export type {
  Claim,
  ClaimStrength,
  ComponentInfo,
  ComponentKind,
  ComponentRepo,
  Detection,
  DetectOptions,
} from './components.ts';
export type { RunOptions } from './context.ts';
export {
  type ComparedImage,
  type DiffOptions,
  type DiffReport,
  diff,
  type FileChange,
} from './diff/diff.ts';
export type { FileChangeKind, FileCounts } from './diff/files.ts';
export type { Cause, GoneLayer, LayerChange, LayerFacts, LayerReason } from './diff/layers.ts';
export type {
  ComponentChange,
  ComponentChangeKind,
  PackageChange,
  PackageChangeKind,
} from './diff/packages.ts';
export type { Floor, ImageUpdate, Pull, UpdateBytes } from './diff/pull.ts';
export type { RateSource } from './evidence.ts';
export type { ComponentOptions, GroupOptions } from './grouping.ts';
export { type InspectedLayer, type Inspection, inspect } from './inspect.ts';
export {
  type Exceeded,
  exceededLimits,
  type LimitId,
  PROFILES,
  type Profile,
  type ProfileChoice,
  parseProfile,
} from './limits.ts';
export type { Effect } from './lint/effects.ts';
export { LINT_CODES, type LintCode } from './lint/findings.ts';
export {
  type LintedRuntime,
  type LintFinding,
  type LintOptions,
  type LintReport,
  lint,
} from './lint/lint.ts';
export type { MemorySources } from './memory.ts';
export type { MetadataOptions, WrittenLayer } from './metadata.ts';
export type { ParentsPolicy, SkeletonPlace } from './parents.ts';
export { drawPlan } from './picture.ts';
export type { PlanBounds, PlannedLayer } from './plan.ts';
export type { Excuse, MtimePolicy, Policy } from './policy.ts';
export {
  type PlannedComponent,
  type PlanReport,
  type PreviewOptions,
  plan,
  type ReportedLayer,
} from './preview.ts';
export type { Progress } from './read.ts';
export {
  type BuildOptions,
  type BuildResult,
  rechunk,
  type VerifyOptions,
  verify,
} from './rechunk.ts';
export type { UpdateNow } from './rehearse.ts';
export { parseMap } from './repos/map.ts';
export type { ComparedView, Verdict, ViewDifference } from './runtimes/compare.ts';
export type { RuntimeModel } from './runtimes/model.ts';
export { parseRuntimes } from './runtimes/report.ts';
export type { LayerRole, StackedLayer } from './stack.ts';
export { rechunkTogether, type VariantInput } from './together.ts';
export type { Entry, FileDigest, Inode, InodeType, Tree } from './tree.ts';
export type { Namespace } from './unpack/overlay.ts';
export {
  type UnpackedImage,
  type UnpackedLayer,
  type UnpackOptions,
  unpack,
} from './unpack/unpack.ts';
export type { Difference, Verification } from './verify.ts';
export type { BaseReport, Way } from './weigh.ts';
export type { BuiltImage } from './write.ts';
export type { BuiltLayer } from './writer.ts';
