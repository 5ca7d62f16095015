"""What a user is interested in, as items with importances: made by a batch job, carried on by what the user does."""
