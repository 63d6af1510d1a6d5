"""The page on monitoring: its sentence, its pictures, and its figures for the command line."""
