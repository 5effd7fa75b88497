# The core rules: the plugin for AWS is no package of a registry.
plugin "terraform" {
  enabled = true
  preset  = "all"
}

# Small modules keep their variables and outputs beside what they are for.
rule "terraform_standard_module_structure" {
  enabled = false
}
