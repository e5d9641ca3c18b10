"""Write the trained networks, their cards and the tables of results from the runs' own files.

    make cards                      # the cards and the tables of docs/results.md and README.md
    make cards DATA=folder          # also measure the networks in weights/ on the data in a folder
    python -m cards --data folder --runs runs    # write weights/ from the runs' checkpoints, too

`runs` reads docs/results/, which keeps what each run wrote: run.json, test.json, validation.csv,
and log.txt with what it printed. `networks` writes the files in weights/; `networks.toml` says
which networks ship, and what the runs' files do not say. `card` and `tables` write Markdown.
"""
