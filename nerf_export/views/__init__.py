"""What a fit takes: the dataset, whether views agree, and where they were taken from."""
