#!/usr/bin/env bash
# TidalCycles 1.7.10 makes one number of a number, a space and a letter of the next step: "t*2 t" is "t*(2/3)".
#
# Guess before: steps are separated by spaces, so struct "t*2 t" has three onsets, two in the first half of the cycle,
# and n "0 _ 1 2" has three numbers, of which the first lasts for two of four steps.
# Seen: behind a number the parser skips spaces and takes t for a third, e for an eighth, q for a quarter and so on if
# no other letter follows. "t*2 t" is one step at two thirds of the speed, and "t@2 t f" has two steps, the first of
# the weight 2/3. The sign _ takes a whole number behind spaces for a weight: "0 _ 1 2" is "0 2", and "0 _ 3 2" is
# "0@3 2". Nothing is reported. With brackets, as "[t*2] t", all is as guessed.
# Fails if another version is installed, or plays something else. It needs Debian 12 with ghc and libghc-tidal-dev,
# which it does not install.
set -euo pipefail
if ! ghc-pkg list --simple-output tidal | grep -qx tidal-1.7.10; then
    echo "needs tidal 1.7.10: apt-get install ghc libghc-tidal-dev" >&2
    exit 1
fi
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
cat >Main.hs <<'HASKELL'
import Sound.Tidal.Context

bools :: String -> Pattern Bool
bools = parseBP_E

numbers :: String -> Pattern Note
numbers = parseBP_E

onsets :: Show a => String -> Pattern a -> IO ()
onsets text pattern = putStrLn (text ++ ": " ++ unwords (map place (filter eventHasOnset (queryArc pattern (Arc 0 1)))))
  where place event = show (fromRational (wholeStart event) :: Double) ++ "=" ++ show (value event)

main :: IO ()
main = do
  mapM_ (\text -> onsets text (bools text)) ["t*2 t", "[t*2] t", "t@2 t f", "[t]@2 [t] f"]
  mapM_ (\text -> onsets text (numbers text)) ["0 _ 1 2", "0 _ 3 2", "0@2 1 2"]
HASKELL
runghc Main.hs | tee seen
diff seen - <<'SEEN'
t*2 t: 0.0=True
[t*2] t: 0.0=True 0.25=True 0.5=True
t@2 t f: 0.0=True 0.4=False
[t]@2 [t] f: 0.0=True 0.5=True 0.75=False
0 _ 1 2: 0.0=0.0n (c5) 0.5=2.0n (d5)
0 _ 3 2: 0.0=0.0n (c5) 0.75=2.0n (d5)
0@2 1 2: 0.0=0.0n (c5) 0.5=1.0n (cs5) 0.75=2.0n (d5)
SEEN
