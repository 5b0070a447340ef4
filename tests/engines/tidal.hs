{-# LANGUAGE ScopedTypeVariables #-}

-- Print the onsets of patterns as TidalCycles plays them: those of the code in Codes, and those of the texts in
-- mini-notation on standard input, one a line; the arguments are the first cycle and the one after the last. A line of the answer has the kind and number of the pattern, the time in
-- cycles, and names and values, with tabs between them.
module Main where

import Codes (codes)
import Control.Exception (SomeException, evaluate, try)
import qualified Data.Map as Map
import Data.Ratio (denominator, numerator)
import Sound.Tidal.Context hiding (code)
import System.Environment (getArgs)

main :: IO ()
main = do
  [begin, end] <- map (fromInteger . read) <$> getArgs
  texts <- lines <$> getContents
  mapM_ (answer "mini" (\word -> ["word", word]) (Arc begin end)) (zip [0 ..] (map parseBP_E texts))
  mapM_ (answer "code" (concatMap pair . Map.toList) (Arc begin end)) (zip [0 ..] codes)

answer :: String -> (a -> [String]) -> Arc -> (Int, Pattern a) -> IO ()
answer kind columns span (number, pattern) = do
  let onsets = filter eventHasOnset (queryArc pattern span)
      line event = tabs (kind : show number : time (wholeStart event) : columns (value event))
      text = unlines (map line onsets)
  result <- try (evaluate (length text)) :: IO (Either SomeException Int)
  case result of
    Left problem -> putStrLn (tabs [kind, show number, "error", unwords (lines (show problem))])
    Right _ -> putStr text

tabs :: [String] -> String
tabs = foldr1 (\first rest -> first ++ '\t' : rest)

time :: Rational -> String
time t = show (numerator t) ++ "/" ++ show (denominator t)

pair :: (String, Value) -> [String]
pair (name, thing) = [name, text thing]
  where
    text (VS string) = string
    text (VF float) = show float
    text (VN (Note float)) = show float
    text (VI int) = show int
    text other = show other
