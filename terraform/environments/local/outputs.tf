output "inventory" {
  description = "Ansible's inventory: terraform output -json inventory > inventory.json"
  value       = module.inventory.inventory
}

output "endpoints" {
  description = "Where clients go, by region."
  value       = module.inventory.endpoints
}

output "dns_name" {
  description = "The name given."
  value       = var.dns_name
}
