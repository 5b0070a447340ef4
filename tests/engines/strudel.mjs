// Print the onsets of patterns as Strudel plays them. Standard input is JSON: {cycles, minis, codes}: the first cycle and the one
// after the last, and lists of texts in mini-notation and of code; so is the answer: for each text its onsets, as [time, values], or a string about what is
// wrong.
import { readFileSync } from 'node:fs';
import { register } from 'node:module';

// @strudel/core 1.2.6 imports @kabelsalat/web, of which Node.js finds the file for browsers without this.
const hook = `export const resolve = async (name, context, next) => {
  const found = await next(name, context);
  return name === '@kabelsalat/web' ? { ...found, url: found.url.replace(/index.js$/, 'index.mjs') } : found;
};`;
register(`data:text/javascript,${encodeURIComponent(hook)}`);
console.log = console.warn = console.error = () => {}; // Strudel reports each evaluation.
const core = await import('@strudel/core');
const mini = await import('@strudel/mini');
const { transpiler } = await import('@strudel/transpiler');
await core.evalScope(core, mini, { transpiler });

const { cycles, minis, codes } = JSON.parse(readFileSync(0, 'utf8'));
let problem;
const engine = core.repl({
  defaultOutput: () => {},
  getTime: () => 0,
  transpiler,
  onEvalError: (error) => (problem = error.message),
});

const onsets = (pattern) =>
  pattern
    .queryArc(...cycles)
    .filter((hap) => hap.hasOnset())
    .map((hap) => [hap.whole.begin.toFraction(), hap.value]);

const attempt = async (work) => {
  try {
    problem = undefined;
    const pattern = await work();
    return problem ?? onsets(pattern);
  } catch (error) {
    return String(error.message);
  }
};

const answer = { minis: [], codes: [] };
for (const text of minis) answer.minis.push(await attempt(() => mini.mini(text)));
for (const code of codes) answer.codes.push(await attempt(() => engine.evaluate(code, false)));
process.stdout.write(JSON.stringify(answer), () => process.exit(0));
