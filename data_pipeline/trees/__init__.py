"""Where the files of a data set lie and what they are: each module maps one kind of tree to items."""
