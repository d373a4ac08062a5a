output "backend_tf" {
  description = "A file for the deployment, by which it keeps its state here: terraform output -raw backend_tf > ../aws-two-region/backend.tf"
  value = join("\n", concat(
    ["terraform {", "  backend \"s3\" {"],
    [for key, value in merge(module.state.backend_config, { key = "${var.name}/terraform.tfstate" }) : "    ${format("%-12s", key)} = ${jsonencode(value)}"],
    ["  }", "}", ""],
  ))
}
