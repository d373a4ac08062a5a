output "vpc_id" {
  description = "The VPC."
  value       = aws_vpc.this.id
}

output "cidr" {
  description = "Its address block."
  value       = aws_vpc.this.cidr_block
}

output "private_subnets" {
  description = "Zone to id and address block of its private subnet."
  value       = { for az, subnet in aws_subnet.private : az => { id = subnet.id, cidr = subnet.cidr_block } }
}

output "public_subnets" {
  description = "Zone to id of its public subnet."
  value       = { for az, subnet in aws_subnet.public : az => { id = subnet.id } }
}

output "private_route_tables" {
  description = "Zone to id of the route table of its private subnet."
  value       = { for az, table in aws_route_table.private : az => table.id }
}

output "azs" {
  description = "The zones, in the order given."
  value       = var.azs
}

output "service_endpoints" {
  description = "Service to its endpoint inside of the VPC: Session Manager's three are the way in."
  value       = { for service, endpoint in aws_vpc_endpoint.service : service => { id = endpoint.id, service = endpoint.service_name } }
}
