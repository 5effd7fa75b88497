run "names_begin_with_project_and_environment" {
  command = plan

  variables {
    environment = "dev"
    tags        = { Team = "platform", ManagedBy = "somebody" }
  }

  assert {
    condition     = output.prefix == "logproc-dev" && output.cluster == "logproc-dev"
    error_message = "names begin with project and environment"
  }

  assert {
    condition     = output.repositories["logproc"] == "logproc/logproc"
    error_message = "repositories do not name the environment"
  }

  assert {
    condition     = output.tags["Team"] == "platform" && output.tags["ManagedBy"] == "terraform" && output.tags["Environment"] == "dev"
    error_message = "own tags are added and can't replace the fixed ones"
  }
}

run "a_name_that_aws_would_refuse_is_refused_here" {
  command = plan

  variables {
    project     = "Log_Proc"
    environment = "dev"
  }

  expect_failures = [var.project]
}

run "an_environment_has_no_hyphen" {
  command = plan

  variables {
    environment = "dev-2"
  }

  expect_failures = [var.environment]
}
