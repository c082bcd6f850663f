"""Linear layer with two of every four weights kept, by sparse tensor cores."""
