output "network" {
  description = "All that module network puts out."
  value       = module.network
}

output "cluster" {
  description = "All that module cluster puts out."
  value       = module.cluster
}
