"""What a pytest run does with feature maps, behind the door that `plugin` is."""
