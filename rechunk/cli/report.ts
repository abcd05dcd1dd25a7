/** `rechunk report`: what registries and layouts hold, what is shared, what updates and deletions come to. */
import { access, constants } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import type { Command, Option } from 'commander';
import { during, RechunkError } from '../../registry/errors.ts';
import {
  checkQuestions,
  heldLayers,
  isCrossed,
  makeReport,
  type Questions,
} from '../../registry/report/figures.ts';
import { openSurveyed, type SurveyedImage } from '../../registry/report/imagesource.ts';
import { uncompressedSizes, withFiles } from '../../registry/report/index/figures.ts';
import type { Report, Skipped } from '../../registry/report/report.ts';
import type { Memory, Survey } from '../../registry/report/survey.ts';
import { parseTarget } from '../../registry/report/target.ts';
import { withCauses } from '../report/causes.ts';
import { limitsOf } from '../report/limits.ts';
import { whatIf, withWhatIf } from '../report/whatif.ts';
import { addCacheOptions, cacheOptions } from './cache.ts';
import { checkIndexDirectory } from './indexdirectory.ts';
import { addSurveyOptions, type Host, listOption, option, type Values } from './options.ts';
import { addReportIndex, withIndex } from './reportindex.ts';
import { formatMarkdown } from './reportmarkdown.ts';
import { formatText } from './reportsummary.ts';
import { describeThreshold } from './reporttext.ts';
import { say } from './say.ts';
import { print, type Session, withSession } from './session.ts';
import { addShapeOptions, shapeOptions } from './shape.ts';
import { requestsOption, withSurvey } from './survey.ts';
import { parseCount, parseSize } from './values.ts';
import { writeWhole } from './whole.ts';

/** Adds the command to `program`. */
export function addReport(program: Command, host: Host): void {
  const command = program
    .command('report')
    .description(
      'tell what registries, repositories, layouts and a registry’s directory hold: what is shared, what updates pull, what a deletion frees; exit status 1 if a limit is crossed',
    )
    .argument(
      '<target...>',
      'docker://HOST (all repositories), docker://HOST/REPO[:PATTERN], oci:DIR, storage:DIR (a registry’s directory)',
    )
    .addOption(option('--markdown', 'print Markdown, such as for $GITHUB_STEP_SUMMARY'))
    .addOption(option('--html <file>', 'write one page with pictures, tables and filters'))
    .addOption(option('--all', 'list everything, not only what is largest'))
    .addOption(
      listOption('--if-deleted <pattern>', 'tell what deleting these tags frees, all at once'),
    )
    .addOption(
      listOption(
        '--holds <pattern>',
        'tell what a node that holds these tags pulls for the others',
      ),
    )
    .addOption(option('--mbit <n>', 'with --holds: the node’s network, to tell seconds'))
    .addOption(
      option(
        '--max-update-bytes <size>',
        'exit status 1 if the newest update of anything pulls more',
      ),
    )
    .addOption(
      option(
        '--min-shared <percent>',
        'exit status 1 if nodes have less of the newest tag of anything, by bytes',
      ),
    )
    .addOption(
      option(
        '--files',
        'read each unique layer once, and tell of files: duplicates, floors of updates, packages that updates are put down to',
      ),
    )
    .addOption(
      option(
        '--index <dir>',
        'with --files: where the index of files is kept (default: beside the cache)',
      ),
    )
    .addOption(
      option(
        '--what-if [k]',
        'rechunk the last K tags of each stream for trial (default: 5), and tell what they would be stored in and what updates would pull; reads their layers',
      ),
    )
    .addOption(
      option(
        '--causes [k]',
        'with --files: tell which packages the last K updates of each stream are put down to (default: 5; 0: none)',
      ),
    )
    .addOption(
      option(
        '--platform <os/arch>',
        'whose images --holds, --what-if and --causes are about (default: all; of --holds the most frequent)',
      ),
    )
    .addOption(option('--no-referrers', 'do not ask registries what refers to images'))
    .addOption(requestsOption());
  addReportIndex(command, host);
  addSurveyOptions(addCacheOptions(command));
  const before = command.options.length;
  addShapeOptions(command.optionsGroup('With --what-if, as of build:'));
  const shaping = command.options.slice(before);
  command.action((targets, values) => {
    refuseShape(command, shaping, values);
    if (values['files'] !== true && command.getOptionValueSource('index') === 'cli')
      throw new RechunkError('usage', '--index: want --files, too');
    return report(targets, values, host);
  });
}

/** Throws `usage` where somebody writes an option of a trial and asks for none; variables may be there for other commands. */
function refuseShape(command: Command, shaping: readonly Option[], values: Values): void {
  const isWritten = (one: Option): boolean =>
    command.getOptionValueSource(one.attributeName()) === 'cli';
  const vain = values['whatIf'] === undefined ? shaping.find(isWritten) : undefined;
  if (vain) throw new RechunkError('usage', `${vain.long}: want --what-if, too`);
}

/** Rows of each list where not all are asked for. */
const SHOWN_ROWS = 10;
const MOST_MBIT = 1_000_000;
const PERCENT = 100;
/** Tags, or updates, of each stream whose layers are read where no number is given, and most that can be asked for. */
const READ_TAGS = 5;
const MOST_READ_TAGS = 1000;

async function report(targets: readonly string[], values: Values, host: Host): Promise<void> {
  if (values['json'] === true && values['markdown'] === true)
    throw new RechunkError('usage', '--json and --markdown: want one of them');
  for (const target of targets) parseTarget(target);
  const page = values['html'] as string | undefined;
  // A survey may take hours, after which it is late to learn that.
  if (page !== undefined)
    await during(`writing ${page}`, () => access(dirname(resolve(page)), constants.W_OK));
  const index = values['index'] as string | undefined;
  if (index !== undefined && values['files'] === true) await checkIndexDirectory(resolve(index));
  const questions = questionsOf(values);
  const counts = readCounts(values);
  const found = await withSession(values, host, (session) =>
    make(targets, questions, { values, host, session, ...counts }),
  );
  const rows = values['all'] === true ? Number.POSITIVE_INFINITY : SHOWN_ROWS;
  const format = values['markdown'] === true ? formatMarkdown : formatText;
  if (page !== undefined) {
    const { reportHtml } = await import('../../registry/report/html/html.ts');
    await writeWhole(page, await reportHtml(found));
  }
  print(found, values, (one) => format(one, { rows }));
  if (!isCrossed(found)) return;
  for (const one of found.thresholds ?? []) if (one.crossed) say('rechunk', describeThreshold(one));
  process.exitCode = 1;
}

/** What a report is made with. */
interface Making extends ReadCounts {
  readonly values: Values;
  readonly host: Host;
  readonly session: Session;
}

async function make(
  targets: readonly string[],
  questions: Questions,
  making: Making,
): Promise<Report> {
  const referrers = making.values['referrers'] !== false;
  return withSurvey(targets, { ...making, referrers }, async (survey, memory) => {
    const { platform, ...others } = questions;
    const isAsked =
      platform !== undefined &&
      (questions.holds || making.tags > 0 || making.values['causes'] !== undefined);
    checkQuestions(survey, isAsked ? questions : others);
    const made =
      making.values['files'] === true
        ? await makeWithFiles(survey, questions, memory, making)
        : makeReport(survey, questions);
    const tried = await tryOut(made, survey, making);
    const limits = limitsOf(made);
    return {
      ...tried,
      generated: new Date().toISOString(),
      ...(limits.length > 0 && { limits }),
    };
  });
}

/** How many of each stream are looked at. */
interface ReadCounts {
  /** Tags that are rechunked for trial; none where that is not asked for. */
  readonly tags: number;
  /** Updates whose causes are told. */
  readonly updates: number;
}

function readCounts(values: Values): ReadCounts {
  const [whatIf, causes] = [values['whatIf'], values['causes']] as (string | true | undefined)[];
  if (causes !== undefined && values['files'] !== true)
    throw new RechunkError('usage', '--causes: want --files, too');
  const count = (given: string | true | undefined, name: string, least: number): number =>
    given === undefined || given === true
      ? READ_TAGS
      : parseCount(given, name, least, MOST_READ_TAGS);
  return {
    tags: whatIf === undefined ? 0 : count(whatIf, '--what-if', 1),
    updates: count(causes, '--causes', 0),
  };
}

/** A report with what the index of files tells, which is brought up to date first. */
function makeWithFiles(
  survey: Survey,
  questions: Questions,
  memory: Memory | undefined,
  { values, host, session, updates }: Making,
): Promise<Report> {
  return withIndex(survey, { values, host, session }, async (reader, stored, skipped) => {
    const uncompressed = await uncompressedSizes(reader);
    const plain = makeReport(survey, { ...questions, uncompressed });
    const made = await withFiles(withSkipped(plain, skipped), reader, heldLayers(survey));
    if (updates === 0) return made;
    return withCauses(made, survey, {
      ...{ reader, updates, memory, signal: session.run.signal },
      platform: values['platform'] as string | undefined,
      describe: ({ repository, manifest }) => stored.describe(repository, manifest),
      onProgress: (done, total) => session.reporter.count('updates explained', done, total),
    });
  });
}

function withSkipped(report: Report, more: readonly Skipped[]): Report {
  return more.length === 0 ? report : { ...report, skipped: [...(report.skipped ?? []), ...more] };
}

/** `report` with what rechunking would come to, where that is asked for. */
async function tryOut(
  made: Report,
  survey: Survey,
  { values, host, session, tags }: Making,
): Promise<Report> {
  if (tags === 0) return made;
  const { run, transport, reporter } = session;
  const found = await whatIf(survey, {
    tags,
    platform: values['platform'] as string | undefined,
    build: shapeOptions(values, host),
    open: (image: SurveyedImage) => openSurveyed(image, transport),
    // What is said of each image would drown the report.
    run: {
      ...{ ...run, onProgress: undefined, onNotice: undefined },
      cache: cacheOptions(values, host),
    },
    onProgress: (done, total) => reporter.count('images rechunked', done, total),
  });
  return withWhatIf(made, found);
}

function questionsOf(values: Values): Questions {
  const [mbit, limit, shared] = ['mbit', 'maxUpdateBytes', 'minShared'].map(
    (name) => values[name] as string | undefined,
  );
  const platform = values['platform'] as string | undefined;
  const ifDeleted = values['ifDeleted'] as readonly string[] | undefined;
  const holds = values['holds'] as readonly string[] | undefined;
  if (mbit !== undefined && !holds) throw new RechunkError('usage', '--mbit: want --holds, too');
  return {
    ...(ifDeleted && { ifDeleted }),
    ...(holds && { holds }),
    ...(platform !== undefined && { platform }),
    ...(mbit !== undefined && { mbit: parseCount(mbit, '--mbit', 1, MOST_MBIT) }),
    ...(limit !== undefined && { maxUpdateBytes: parseSize(limit, '--max-update-bytes') }),
    ...(shared !== undefined && { minShared: parseShare(shared) }),
  };
}

function parseShare(text: string): number {
  const [, number] = /^\s*(\d+(?:\.\d+)?)\s*%?\s*$/.exec(text) ?? [];
  const percent = Number(number);
  if (percent >= 0 && percent <= PERCENT) return percent / PERCENT;
  throw new RechunkError('usage', `--min-shared: got '${text}', want a percentage from 0 to 100`);
}
