"""Verdicts, tables and figures as pages for people and programs. Formatting only; never torch.

May import `verdict`, `stats`, `store` and `data`; nothing that trains. Texts for a terminal
(`describe`) import no figures: a verdict is printed before matplotlib would be loaded.

No page carries the date on which it was written: the same store gives the same bytes.
"""
