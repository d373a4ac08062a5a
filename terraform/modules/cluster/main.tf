# The members of one region: where each stands, its instance and its two volumes.

locals {
  members = {
    for i in range(var.members) : "${var.name}-${var.first_id + i}" => {
      id   = var.first_id + i
      zone = var.network.azs[i % length(var.network.azs)]
      # The same address after a replacement: configurations of the others and certificates name it.
      address = cidrhost(var.network.private_subnets[var.network.azs[i % length(var.network.azs)]].cidr, 10 + floor(i / length(var.network.azs)))
    }
  }

  ami_id = var.ami_id != null ? var.ami_id : data.aws_ami.debian[0].id

  # Ports of the daemon's defaults. 9090 has the health paths and nothing else beside the metrics.
  client_port  = 2379
  peer_port    = 2380
  admin_port   = 8080
  metrics_port = 9090
}

data "aws_region" "here" {}

data "aws_ami" "debian" {
  count = var.ami_id == null ? 1 : 0

  owners      = ["136693071363"] # the Debian project
  most_recent = true

  filter {
    name   = "name"
    values = ["debian-12-amd64-*"]
  }

  filter {
    name   = "virtualization-type"
    values = ["hvm"]
  }
}

resource "aws_ebs_volume" "data" {
  for_each = local.members

  availability_zone = each.value.zone
  size              = var.data_volume_gib
  type              = "gp3"
  encrypted         = true
  kms_key_id        = var.kms_key_arn

  tags = { Name = "${each.key}-data" }
}

resource "aws_ebs_volume" "wal" {
  for_each = local.members

  availability_zone = each.value.zone
  size              = var.wal_volume_gib
  type              = "gp3"
  iops              = var.wal_volume_iops
  encrypted         = true
  kms_key_id        = var.kms_key_arn

  tags = { Name = "${each.key}-wal" }
}

resource "aws_instance" "member" {
  for_each = local.members

  ami                     = local.ami_id
  instance_type           = lookup(var.instance_type_of, each.key, var.instance_type)
  subnet_id               = var.network.private_subnets[each.value.zone].id
  private_ip              = each.value.address
  vpc_security_group_ids  = [aws_security_group.member.id]
  iam_instance_profile    = aws_iam_instance_profile.member.name
  disable_api_termination = var.deletion_protection
  ebs_optimized           = true
  monitoring              = true

  user_data = templatefile("${path.module}/user_data.sh", {
    data_volume = aws_ebs_volume.data[each.key].id
    wal_volume  = aws_ebs_volume.wal[each.key].id
  })

  root_block_device {
    volume_size = 20
    volume_type = "gp3"
    encrypted   = true
    kms_key_id  = var.kms_key_arn
  }

  # Version 2 only: a request that a member is tricked into cannot fetch its rights.
  metadata_options {
    http_endpoint               = "enabled"
    http_tokens                 = "required"
    http_put_response_hop_limit = 1
  }

  tags = { Name = each.key }

  # A newer image or other first commands concern new members. Applied to those that are there, they would stop or
  # replace all of a region at once: replace one at a time, with -replace.
  lifecycle {
    ignore_changes = [ami, user_data]
  }
}

# Volumes outlive their instance: they are detached from it, after it has stopped.
resource "aws_volume_attachment" "data" {
  for_each = local.members

  device_name                    = "/dev/sdf"
  volume_id                      = aws_ebs_volume.data[each.key].id
  instance_id                    = aws_instance.member[each.key].id
  stop_instance_before_detaching = true
}

resource "aws_volume_attachment" "wal" {
  for_each = local.members

  device_name                    = "/dev/sdg"
  volume_id                      = aws_ebs_volume.wal[each.key].id
  instance_id                    = aws_instance.member[each.key].id
  stop_instance_before_detaching = true
}
