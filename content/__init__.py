"""What an item is apart from what users do: title, category, price, group, age."""
