#!/usr/bin/env bash
# In Strudel 1.2.6 copies of a step forget its weight: "bd@3!2 sd" is "bd bd sd", and "bd!2@3 sd" is something third.
#
# Guess before: @3 gives a step the length of three, !2 writes it twice, and their order does not matter, so both are
# two kicks of three steps each and a snare on the last of seven steps: at 0, 3/7 and 6/7.
# Seen: ! sets the weight to the number of copies, which then share it, so "bd@3!2 sd" has three equal steps. @ behind
# it adds to that weight: in "bd!2@3 sd" two kicks share four of five steps, and so does _ in "bd!2 _ sd", three of
# four. Nothing is reported. With brackets, as "[bd]@3 [bd]@3 sd", all is as guessed. TidalCycles 1.7.10 refuses both.
# Fails if the onsets change.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm init --yes >/dev/null
npm install --silent --no-audit --no-fund @strudel/core@1.2.6 @strudel/mini@1.2.6
cat >onsets.mjs <<'JAVASCRIPT'
import { register } from 'node:module';
// @strudel/core imports @kabelsalat/web, of which Node.js finds the file for browsers without this.
const hook = `export const resolve = async (name, context, next) => {
  const found = await next(name, context);
  return name === '@kabelsalat/web' ? { ...found, url: found.url.replace(/index.js$/, 'index.mjs') } : found;
};`;
register(`data:text/javascript,${encodeURIComponent(hook)}`);
const { mini } = await import('@strudel/mini');
const report = [];
for (const text of ['bd@3!2 sd', 'bd!2@3 sd', 'bd!2 _ sd', '[bd]@3 [bd]@3 sd']) {
  const onsets = mini(text).queryArc(0, 1).filter((hap) => hap.hasOnset());
  report.push(`${text}: ${onsets.map((hap) => `${hap.value} ${hap.whole.begin.toFraction()}`).join(', ')}`);
}
process.stdout.write(report.join('\n') + '\n', () => process.exit(0));
JAVASCRIPT
node onsets.mjs | grep -v loaded | tee seen
diff seen - <<'SEEN'
bd@3!2 sd: bd 0, bd 1/3, sd 2/3
bd!2@3 sd: bd 0, bd 2/5, sd 4/5
bd!2 _ sd: bd 0, bd 3/8, sd 3/4
[bd]@3 [bd]@3 sd: bd 0, bd 3/7, sd 6/7
SEEN
