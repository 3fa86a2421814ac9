"""What a pytest run does with feature maps; the hooks of `plugin` call it."""
